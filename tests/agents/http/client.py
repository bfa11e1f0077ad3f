"""Starts the server given as arguments, asks it for everything, and says what it answered."""

import hashlib
import http.client
import json
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

server = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
port = int(server.stdout.readline())
base = f"http://127.0.0.1:{port}"


def show(name, response):
    body = response.read()
    text = body.decode() if len(body) < 200 else f"{len(body)} bytes, {hashlib.sha256(body).hexdigest()}"
    print(name, response.status, response.headers["Content-Type"], response.headers["X-Seen"], text)


def get(path, **headers):
    return urllib.request.urlopen(urllib.request.Request(base + path, headers=headers), timeout=30)


show("get", get("/hello?a=1"))
show("header", get("/hello", **{"X-Mark": "blue"}))
show("large", get("/large"))
show("moved", get("/moved"))
try:
    get("/none")
except urllib.error.HTTPError as error:
    show("missing", error)
show("post", urllib.request.urlopen(base + "/", data=b"x" * 300_000, timeout=30))

connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
for turn in range(3):
    connection.request("GET", f"/hello?{turn}")
    show("kept", connection.getresponse())
connection.request("HEAD", "/large")
response = connection.getresponse()
print("head", response.status, response.headers["Content-Length"], len(response.read()))
connection.request("POST", "/", body=json.dumps({"a": [1, 2]}), headers={"Content-Type": "application/json"})
show("json", connection.getresponse())
connection.close()

with ThreadPoolExecutor(4) as pool:
    answers = pool.map(lambda n: get(f"/hello?{n}").read().decode(), range(12))
    print("at once", list(answers))
show("stop", get("/stop"))
print("server", server.wait(timeout=30))
try:
    get("/hello")
except urllib.error.URLError as error:
    print("after", type(error.reason).__name__)
