"""requests: a session against a server in a child process on the loopback: JSON, forms, files, redirects, cookies, errors."""
import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, body, headers=()):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/redirect"):
            self.reply(302, b"", [("Location", "/echo?from=redirect"), ("Set-Cookie", "seen=1; Path=/")])
        elif self.path == "/lines":
            self.reply(200, b"one\ntwo\nthree\n", [("Content-Type", "text/plain; charset=utf-8")])
        elif self.path == "/quit":
            self.reply(503, b"bye", [("Connection", "close")])
            self.server.done = True
        else:
            names = ("Cookie", "Authorization", "X-Tool")
            self.reply(200, {"path": self.path, "headers": {n: self.headers[n] for n in names if n in self.headers}}, [("Content-Type", "application/json")])

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.headers["Content-Type"]
        if kind.startswith("multipart/"):
            boundary = kind.split("boundary=")[1].encode()
            self.reply(201, {"parts": body.count(b"--" + boundary) - 1, "file": b'filename="a.txt"' in body})
        else:
            self.reply(201, {"kind": kind, "body": body.decode()})

    def log_message(self, *arguments):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
server.done = False
base = f"http://127.0.0.1:{server.server_address[1]}"
child = os.fork()
if child == 0:
    while not server.done:
        server.handle_request()
    os._exit(0)
server.server_close()
with requests.Session() as session:
    session.trust_env = False
    session.headers["X-Tool"] = "yes"
    session.mount("http://", HTTPAdapter(max_retries=2))
    response = session.get(base + "/redirect", timeout=20)
    print(response.status_code, response.json(), [r.status_code for r in response.history], dict(session.cookies))
    response = session.get(base + "/a b", params={"q": ["1", "ä"], "n": None}, auth=HTTPBasicAuth("u", "p"), timeout=20)
    print(response.json(), response.headers["content-type"], response.encoding, response.ok)
    print(session.post(base, json={"k": [1, None]}, timeout=20).json(), session.post(base, data={"a": "1 2", "b": "&"}, timeout=20).json())
    print(session.post(base, files={"f": ("a.txt", b"content")}, data={"x": "y"}, timeout=20).json())
    print([line for line in session.get(base + "/lines", stream=True, timeout=20).iter_lines(decode_unicode=True)])
    response = session.get(base + "/quit", timeout=20)
    try:
        response.raise_for_status()
    except requests.HTTPError as error:
        print(str(error).split(" for ")[0], error.response.text)
print("child", os.waitpid(child, 0)[1])
for bad, kind in ((base, requests.ConnectionError), ("ftp://x", requests.exceptions.InvalidSchema), ("example.org/x", requests.exceptions.MissingSchema)):
    try:
        requests.get(bad, timeout=5)
    except kind as error:
        print(type(error).__name__)
