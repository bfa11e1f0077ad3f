# Talks with the server of the test at HOST PORT, in every way that TCP has.
import hashlib, select, socket, sys, threading

at = (sys.argv[1], int(sys.argv[2]))


def pattern(n):
    return hashlib.shake_128(b"%d" % n).digest(n)


def connect(what):
    s = socket.create_connection(at, timeout=20)
    s.sendall(what + b"\n")
    return s


def rest(s):
    parts = []
    while part := s.recv(70000):
        parts.append(part)
    return b"".join(parts)


with connect(b"echo") as s:
    s.sendall(b"to be answered")
    s.shutdown(socket.SHUT_WR)
    print("half closed", rest(s))

# More than all buffers hold, in both directions at once.
data = pattern(5_000_000)
with connect(b"echo") as s:
    sender = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
    sender.start()
    print("much", rest(s) == data)
    sender.join()

with connect(b"count") as s:
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    print("counted", rest(s))

results = []


def one(i):
    with connect(b"echo") as s:
        s.sendall(pattern(1000 + i))
        s.shutdown(socket.SHUT_WR)
        results.append(rest(s) == pattern(1000 + i))


threads = [threading.Thread(target=one, args=(i,)) for i in range(40)]
[t.start() for t in threads]
[t.join() for t in threads]
print("at once", len(results), all(results))

s = socket.socket()
s.setblocking(False)
print("begun", s.connect_ex(at) in (115, 0))
_, ready, _ = select.select([], [s], [], 20)
print("ready", ready == [s], s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), s.getpeername()[1] == at[1])
s.send(b"close\n")
select.select([s], [], [], 20)
print("closed by the server", s.recv(10))
s.close()

with connect(b"reset") as s:
    try:
        print("reset", rest(s))
    except ConnectionResetError as e:
        print("reset", e.errno)

with connect(b"hold") as s:
    s.settimeout(0.2)
    try:
        s.recv(1)
    except TimeoutError as e:
        print("nothing came", e)
