"""PyJWT: tokens signed with HMAC, checked for audience, issuer, time and tampering."""
import json
from datetime import datetime, timedelta, timezone

import jwt

KEY = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
CLAIMS = {"sub": "ada", "aud": ["tool", "box"], "iss": "me", "exp": datetime(2999, 1, 1, tzinfo=timezone.utc), "nbf": 1, "iat": 2, "data": {"n": [1, 2.5, None]}}
for algorithm in ("HS256", "HS384", "HS512"):
    token = jwt.encode(CLAIMS, KEY, algorithm=algorithm, headers={"kid": "k1"})
    print(algorithm, token)
    print(jwt.get_unverified_header(token), jwt.decode(token, KEY, algorithms=["HS256", "HS384", "HS512"], audience="box", issuer="me")["data"])
token = jwt.encode(CLAIMS, KEY)
head, body, signature = token.split(".")
old = jwt.encode({"exp": datetime(2001, 1, 1, tzinfo=timezone.utc)}, KEY)
for name, text, options in (
    ("tampered", ".".join([head, body[:-2] + "AA", signature]), {"audience": "box"}), ("wrong audience", token, {"audience": "other"}), ("no audience", token, {}),
    ("wrong issuer", token, {"audience": "box", "issuer": "you"}), ("expired", old, {}), ("missing claim", old, {"leeway": timedelta(days=99999), "options": {"require": ["sub"]}}),
    ("not a token", "a.b", {}), ("bad json", "e30.bm8.", {}),
):
    try:
        jwt.decode(text, KEY, algorithms=["HS256"], **options)
        print(name, "passed")
    except jwt.PyJWTError as error:
        print(name, type(error).__name__, error)
try:
    jwt.decode(token, KEY, algorithms=["HS512"], audience="box")
except jwt.InvalidAlgorithmError as error:
    print(error)
print(jwt.decode(token, options={"verify_signature": False})["sub"])
key = jwt.PyJWK.from_json(json.dumps({"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldCEh", "alg": "HS256"}))
print(jwt.decode(jwt.encode({"a": 1}, key.key), key, algorithms=["HS256"]), sorted(a for a in jwt.api_jws.PyJWS().get_algorithms() if a.startswith("HS")))
