"""httpx: requests by a transport of our own, and over a loopback socket to a server in a child process."""
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx


def answer(request):
    if request.url.path == "/go":
        return httpx.Response(302, headers={"Location": "/json"})
    if request.url.path == "/json":
        return httpx.Response(200, json={"q": dict(request.url.params), "ua": "user-agent" in request.headers})
    return httpx.Response(404, text="nothing")


with httpx.Client(transport=httpx.MockTransport(answer), base_url="https://tool.example/", follow_redirects=True, params={"k": "v"}) as client:
    response = client.get("go")
    print(response.status_code, response.url, response.json(), [r.status_code for r in response.history])
    try:
        client.get("/missing").raise_for_status()
    except httpx.HTTPStatusError as error:
        print(error.response.status_code, error.response.text)
request = httpx.Request("POST", "http://x.example/a b?q=ä", data={"n": "1", "t": "é"}, headers=[("X-A", "1"), ("X-A", "2")])
print(request.url, request.content, request.headers["x-a"], request.headers["content-type"])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))[::-1]
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=iso-8859-1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
child = os.fork()
if child == 0:
    server.handle_request()
    os._exit(0)
port = server.server_address[1]
server.socket.close()
with httpx.Client(trust_env=False, timeout=20) as client:
    response = client.put(f"http://127.0.0.1:{port}/", content=b"\xe9cle")
    print(response.status_code, response.http_version, response.encoding, response.text)
print(os.waitpid(child, 0)[1])
