"""h11: both ends of HTTP/1.1 conversations as state machines, bytes in and events out."""
import h11

client, server = h11.Connection(h11.CLIENT), h11.Connection(h11.SERVER)


def events(connection, data):
    connection.receive_data(data)
    while True:
        event = connection.next_event()
        if event in (h11.NEED_DATA, h11.PAUSED):
            return
        yield event
        if isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
            return


wire = client.send(h11.Request(method="POST", target="/up?x=1", headers=[("Host", "example.org"), ("Transfer-Encoding", "chunked"), ("Accept", "*/*")]))
wire += client.send(h11.Data(data=b"hello ")) + client.send(h11.Data(data=b"world")) + client.send(h11.EndOfMessage())
print(wire)
for size in (7, len(wire)):
    for event in events(server, wire[:size]) if size == 7 else events(server, wire[7:]):
        print("server", type(event).__name__, getattr(event, "target", b""), bytes(getattr(event, "data", b"")))
answer = server.send(h11.Response(status_code=200, reason=b"Fine", headers=[("Content-Length", "5"), ("X-A", "b")]))
answer += server.send(h11.Data(data=b"12345")) + server.send(h11.EndOfMessage())
for event in events(client, answer):
    print("client", type(event).__name__, getattr(event, "status_code", ""), bytes(getattr(event, "data", b"")))
print(client.states, server.our_state is h11.DONE)
client.start_next_cycle()
server.start_next_cycle()
for bad in (b"GET / HTTP/1.1\r\n\r\n", b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"):
    try:
        list(events(h11.Connection(h11.SERVER), bad))
    except h11.RemoteProtocolError as error:
        print(error.error_status_hint, error)
try:
    client.send(h11.Data(data=b"too early"))
except h11.LocalProtocolError as error:
    print("local:", error)
