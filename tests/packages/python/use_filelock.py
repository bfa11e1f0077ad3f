"""filelock: a lock that a child process holds is waited for, times out, and is released by the child's end."""
import os
import tempfile

from filelock import FileLock, SoftFileLock, Timeout

with tempfile.TemporaryDirectory() as directory:
    path = os.path.join(directory, "state.lock")
    lock = FileLock(path)
    with lock:
        with lock:
            print("reentrant", lock.is_locked, lock.lock_counter)
    print("released", lock.is_locked)
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        held = FileLock(path)
        held.acquire()
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    try:
        FileLock(path, timeout=0.05).acquire(poll_interval=0.01)
    except Timeout as error:
        print("timeout", os.path.basename(error.lock_file))
    try:
        FileLock(path, blocking=False).acquire()
    except Timeout:
        print("not blocking")
    os.write(go[1], b"x")
    print("child", os.waitpid(child, 0)[1])
    with FileLock(path, timeout=5):
        print("acquired after the child's end")
    soft = SoftFileLock(os.path.join(directory, "soft.lock"))
    with soft.acquire():
        print("soft", os.path.exists(soft.lock_file))
    print("soft", os.path.exists(soft.lock_file))
