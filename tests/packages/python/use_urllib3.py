"""urllib3: a pool against a server in a child process on the loopback: kept connections, retries, chunks, compression, timeouts."""
import gzip
import os
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer

import urllib3
from urllib3.util import Retry, Timeout, make_headers, parse_url


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    failures, connections = 0, 0

    def setup(self):
        Handler.connections += 1
        super().setup()

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/flaky":
            Handler.failures += 1
            self.reply(503 if Handler.failures < 3 else 200, f"try {Handler.failures}".encode())
        elif self.path == "/gzip":
            self.reply(200, gzip.compress(b"packed " * 20, mtime=0), Content_Encoding="gzip")
        elif self.path == "/chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (b"first ", b"second ", b"third"):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        elif self.path == "/quit":
            self.reply(200, f"{Handler.connections} connections".encode(), Connection="close")
            self.close_connection = self.server.done = True
        else:
            self.reply(301, Location="/gzip")

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(200, body.upper(), X_Auth=self.headers.get("Authorization", "none"))

    def log_message(self, *arguments):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
server.done = False
port = server.server_address[1]
child = os.fork()
if child == 0:
    while not server.done:
        server.handle_request()
    os._exit(0)
server.server_close()
pool = urllib3.HTTPConnectionPool("127.0.0.1", port, timeout=Timeout(connect=10, read=20), retries=Retry(4, backoff_factor=0, status_forcelist=[503]))
response = pool.request("GET", "/flaky")
print(response.status, response.data, [h.status for h in response.retries.history])
response = pool.request("GET", "/moved")
print(response.status, response.geturl(), len(response.data), response.data[:7])
response = pool.request("GET", "/chunks", preload_content=False)
print([part.decode() for part in response.stream(1000)], response.headers["transfer-encoding"])
print(pool.request("POST", "/", fields={"a": "1", "b": ("f.txt", "data")}, encode_multipart=True, multipart_boundary="xyz").data.splitlines()[:4])
print(pool.request("POST", "/", body=iter([b"ab", b"cd"]), chunked=True, headers=make_headers(basic_auth="u:p")).headers["x-auth"], pool.request("POST", "/", json={"k": 1}).data)
print(pool.request("GET", "/quit").data, pool.num_connections, pool.num_requests)
print("child", os.waitpid(child, 0)[1])
silent = socket.create_server(("127.0.0.1", 0))
for where, options in ((silent.getsockname()[1], {"timeout": 0.1}), (port, {})):
    try:
        urllib3.PoolManager().request("GET", f"http://127.0.0.1:{where}/", retries=Retry(1, backoff_factor=0), **options)
    except urllib3.exceptions.MaxRetryError as error:
        print(type(error.reason).__name__)
print(parse_url("http://u:p@[::1]:80/a%2fb/../c?d=é#f"), urllib3.util.url.parse_url("HTTP://EXAMPLE.org").host)
