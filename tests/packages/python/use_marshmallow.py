"""marshmallow: objects to JSON and back, with validation, hooks and nested schemas."""
import datetime as dt
import decimal

from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, pre_load, validate, validates_schema


class Author:
    def __init__(self, **values):
        self.__dict__.update(values)


class AuthorSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    name = fields.String(required=True, validate=validate.Length(min=2))
    mail = fields.Email(allow_none=True)
    born = fields.Date()

    @post_load
    def make(self, data, **kwargs):
        return Author(**data)


class BookSchema(Schema):
    title = fields.String(required=True, data_key="Title")
    price = fields.Decimal(places=2, as_string=True)
    authors = fields.List(fields.Nested(AuthorSchema), required=True)
    kind = fields.String(validate=validate.OneOf(["a", "b"]), load_default="a")
    printed = fields.DateTime(format="iso")
    cover = fields.Function(lambda book: book["title"][:3])
    secret = fields.Integer(load_only=True)

    @pre_load
    def strip(self, data, **kwargs):
        return {key: value.strip() if isinstance(value, str) else value for key, value in data.items()}

    @validates_schema
    def check(self, data, **kwargs):
        if data.get("kind") == "b" and "price" not in data:
            raise ValidationError("b needs a price", "price")


schema = BookSchema()
book = schema.load({"Title": " Tools ", "price": "12.345", "authors": [{"name": "Ada", "born": "1815-12-10", "x": 1}], "printed": "2020-02-29T12:30:00+02:00", "secret": "7"})
print(book["title"], book["price"] == decimal.Decimal("12.34"), book["authors"][0].born.year, book["kind"], book["printed"].utcoffset(), book["secret"])
print(schema.dump(book))
print(AuthorSchema(only=("name", "born"), many=True).dumps([{"name": "B", "born": dt.date(2000, 1, 2)}, {"name": "C"}]))
for bad in ({}, {"Title": 5, "authors": [{"name": "x", "mail": "no"}, 3]}, {"Title": "t", "authors": [], "kind": "b"}, {"Title": "t", "authors": [], "kind": "z", "what": 1, "printed": "soon"}):
    try:
        schema.load(bad)
    except ValidationError as error:
        print(error.normalized_messages())
