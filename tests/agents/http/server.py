"""An HTTP server: says its port on stdout and serves until it is asked to stop."""

import hashlib
import http.server
import json
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body, kind="text/plain"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Seen", self.headers.get("X-Mark", "none"))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/hello":
            self.answer(200, f"hello {query}".encode())
        elif path == "/large":
            self.answer(200, bytes(range(256)) * 4096, "application/octet-stream")
        elif path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/hello?moved")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path == "/stop":
            self.answer(200, b"bye")
            threading.Thread(target=self.server.shutdown).start()
        else:
            self.answer(404, b"nothing here")

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        self.answer(201, json.dumps(answer, separators=(",", ":")).encode(), "application/json")

    def log_message(self, *args):
        pass


with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever(poll_interval=0.01)
