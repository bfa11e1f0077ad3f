# warm: logging:threading:random:hashlib:weakref
python3 -c 'import time, logging; print(abs(logging._startTime - time.time()) < 60)'
python3 -c 'import threading, os; m = threading.main_thread(); print(m.native_id == os.getpid(), m.ident == threading.get_ident(), len(threading.enumerate()))'
python3 -c 'import threading
t = threading.Thread(target=print, args=("in a thread",)); t.start(); t.join()
threading.Thread(target=lambda: (__import__("time").sleep(0.1), print("later"))).start()'
a=$(python3 -c 'import random; print(random.random())'); b=$(python3 -c 'import random; print(random.random())'); test "$a" != "$b" && echo random differs
a=$(python3 -c 'import os; print(os.urandom(9))'); b=$(python3 -c 'import os; print(os.urandom(9))'); test "$a" != "$b" && echo urandom differs
a=$(python3 -c 'import ssl; print(ssl.RAND_bytes(9))'); b=$(python3 -c 'import ssl; print(ssl.RAND_bytes(9))'); test "$a" != "$b" && echo ssl differs
a=$(python3 -c 'import uuid; print(uuid.uuid4())'); b=$(python3 -c 'import uuid; print(uuid.uuid4())'); test "$a" != "$b" && echo uuid differs
a=$(python3 -c 'import tempfile; print(tempfile.mktemp())'); b=$(python3 -c 'import tempfile; print(tempfile.mktemp())'); test "$a" != "$b" && echo tempfile differs
python3 -c 'import random; random.seed(1); print(random.random(), random.choices("abc", k=5))'
python3 -c 'import os, random
a = random.random()
if os.fork() == 0: print("child"); os._exit(0)
os.wait(); print("parent")'
python3 -c 'import multiprocessing.process as p; print(len(p.current_process().authkey))'
