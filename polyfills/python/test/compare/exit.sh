# warm: threading:json:weakref:logging
try() { python3 -c "$1" 2>&1; echo "status $?"; }
try 'import sys; sys.exit(3)'
try 'import sys; sys.exit("text")'
try 'raise SystemExit(None)'
try 'raise SystemExit([1])'
try '1/0'
try 'import os; os._exit(4)'
try 'import os, signal; os.kill(os.getpid(), signal.SIGTERM)'
try 'raise KeyboardInterrupt'
try 'import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(1)'
try 'import atexit; atexit.register(lambda: 1/0); atexit.register(print, "bye")'
try 'import atexit, sys; atexit.register(sys.exit, 5)'
try 'class C:
    def __del__(self): print("del", self.name)
for name in "abc":
    globals()[name] = C(); globals()[name].name = name
d = C(); d.name = "cycle"; d.me = d
def f(): return a'
try 'f = open("out", "w"); f.write("written"); g = f.write'
cat out; echo
try 'def g():
    try: yield 1
    finally: print("finally")
x = g(); next(x)'
try 'import weakref, sys
class C: pass
c = C(); weakref.finalize(c, print, "finalized"); w = weakref.ref(c, lambda r: print("gone"))
print(sys.is_finalizing())'
try 'import builtins
class C:
    def __del__(self): print("builtins are cleared", len("ab"))
builtins.thing = C()'
echo 'class C:
    def __del__(self): print("module del", __name__)
c = C()
c.me = c' > mod.py
try 'import mod; import json; mod.json = json; x = mod.C()'
try 'import sys; sys.modules["x"] = 3; sys.stdout.write("no newline")'
try 'import sys; print("out"); sys.stdout.close()'
try 'import threading, time; threading.Thread(target=lambda: (time.sleep(.1), print("thread ends"))).start(); print("main ends")'
try 'import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); print("daemon")'
try 'import concurrent.futures as f; e = f.ThreadPoolExecutor(2); e.submit(print, "pool")'
python3 -c 'print("x" * 100000)' | head -c 1 > /dev/null; echo
python3 -c 'import sys; print(1); sys.stdout.flush()' > /dev/full; echo "status $?"
python3 -c 'print(1)' > /dev/full; echo "status $?"
