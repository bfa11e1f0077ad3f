"""jsonschema: documents against a schema with references, formats and conditions; all errors in order."""
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker, RefResolver, SchemaError, ValidationError, validate
from jsonschema.exceptions import best_match

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["name", "steps"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 8},
        "mail": {"type": "string", "format": "ipv4"},
        "steps": {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"$ref": "#/$defs/step"}},
        "kind": {"enum": ["a", "b"]},
    },
    "if": {"properties": {"kind": {"const": "b"}}, "required": ["kind"]},
    "then": {"required": ["mail"]},
    "$defs": {"step": {"oneOf": [{"type": "integer", "multipleOf": 5}, {"type": "object", "properties": {"run": {"$ref": "#/$defs/step"}}, "required": ["run"]}]}},
}
Draft202012Validator.check_schema(SCHEMA)
validator = Draft202012Validator(SCHEMA, format_checker=FormatChecker())
for document in (
    {"name": "ok", "steps": [5, {"run": {"run": 10}}]}, {"name": "Bad Name 123", "steps": []}, {"steps": [5, 5], "extra": 1},
    {"name": "x", "steps": [7], "mail": "1.2.3.999"}, {"name": "x", "steps": [5], "kind": "b"}, [], {"name": "x", "steps": [{"run": "no"}], "kind": "c"},
):
    print(validator.is_valid(document))
    for error in sorted(validator.iter_errors(document), key=lambda e: (list(map(str, e.path)), e.message)):
        print("  ", error.json_path, error.validator, error.message[:90])
print(best_match(validator.iter_errors({"name": 1, "steps": [{"run": 3}]})).message)
resolver = RefResolver("", {}, store={"urn:point": {"type": "array", "maxItems": 2}})
print([e.message for e in Draft7Validator({"$ref": "urn:point"}, resolver=resolver).iter_errors([1, 2, 3])])
try:
    validate(1, {"type": "nonsense"})
except SchemaError as error:
    print("SchemaError", error.message[:60])
try:
    validate("x", {"anyOf": [{"type": "null"}, {"minLength": 2}]})
except ValidationError as error:
    print(len(error.context), error.message)
