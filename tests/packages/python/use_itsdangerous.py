"""itsdangerous: data that is signed, dated, and refused when it was changed."""
from itsdangerous import BadSignature, SignatureExpired, Signer, TimestampSigner, URLSafeSerializer, URLSafeTimedSerializer

signer = Signer("key", salt="a")
token = signer.sign("some text")
print(token, signer.unsign(token), signer.validate(token[:-1] + b"!"))
serializer = URLSafeSerializer(["old", "new"], salt="b")
packed = serializer.dumps({"id": 5, "names": ["ä", "b"], "long": "x" * 200})
print(packed, serializer.loads(packed)["names"])
print(URLSafeSerializer("old", salt="b").loads(URLSafeSerializer("old", salt="b").dumps(1)), serializer.loads_unsafe(packed + "x")[0])
try:
    URLSafeSerializer("other", salt="b").loads(packed)
except BadSignature as error:
    print(type(error).__name__, error)


class Fixed(TimestampSigner):
    now = 1_700_000_000

    def get_timestamp(self):
        return self.now


timed = URLSafeTimedSerializer("key", signer=Fixed)
dated = timed.dumps([1, 2, 3])
value, when = timed.loads(dated, max_age=10, return_timestamp=True)
print(dated, value, when.isoformat())
Fixed.now += 11
try:
    timed.loads(dated, max_age=10)
except SignatureExpired as error:
    print(error, error.date_signed.year)
