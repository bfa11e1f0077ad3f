"""Tries every way by which Python takes a file as code, and says what came of each."""

import importlib
import importlib.util
import marshal
import os
import runpy
import subprocess
import sys
import warnings
import zipfile
import zipimport

HERE = "/tmp/loads"


def write(name, text):
    path = os.path.join(HERE, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    return path


def attempt(name, action):
    try:
        print(f"{name}: {action()}")
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}")


def load(module, directory=HERE):
    sys.path.insert(0, directory)
    try:
        importlib.invalidate_caches()
        return importlib.import_module(module).VALUE
    finally:
        sys.path.remove(directory)


def child(arguments, stdin="", **environment):
    done = subprocess.run([sys.executable, *arguments], input=stdin, capture_output=True, text=True,
                          env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environment})
    lines = (done.stdout + done.stderr).splitlines() or [""]
    return f"status {done.returncode}, {lines[-1]}"


def bytecode(path, text, mtime=0, size=0):
    """Bytecode of other text than that of the source with this time and size."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fields = (0, int(mtime), size)
    with open(path, "wb") as file:
        file.write(importlib.util.MAGIC_NUMBER + b"".join(field.to_bytes(4, "little") for field in fields))
        file.write(marshal.dumps(compile(text, path, "exec")))


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("zipped.py", "VALUE = 'zipped'\n")
        file.writestr("__main__.py", "print('main of the archive')\n")
    return path


warnings.simplefilter("ignore")
os.makedirs(HERE, exist_ok=True)
attempt("a file of the image", lambda: load("same", "/probe/lib"))
write("written.py", "VALUE = 'written'\n")
attempt("a written module", lambda: load("written"))
write("package/__init__.py", "VALUE = 'package'\n")
attempt("a written package", lambda: load("package"))
with open("/probe/lib/changed.py", "a") as file:
    file.write("VALUE = 'changed'\n")
attempt("a changed module", lambda: load("changed", "/probe/lib"))
bytecode(HERE + "/bytecode/compiled.pyc", "VALUE = 'bytecode'")
attempt("bytecode without source", lambda: load("compiled", HERE + "/bytecode"))
source = os.stat("/probe/lib/forged.py")
bytecode(importlib.util.cache_from_source("/probe/lib/forged.py"), "VALUE = 'forged'", source.st_mtime, source.st_size)
attempt("forged bytecode of a file of the image", lambda: load("forged", "/probe/lib"))
archive(HERE + "/archive.zip")
attempt("an archive", lambda: load("zipped", HERE + "/archive.zip"))
attempt("zipimport", lambda: zipimport.zipimporter(HERE + "/archive.zip").load_module("zipped").VALUE)
script = write("script.py", "VALUE = 'script'\nprint('script')\n")
attempt("runpy", lambda: runpy.run_path(script)["VALUE"])
attempt("exec of what was read", lambda: exec(open(script).read(), {}))
attempt("-c", lambda: child(["-c", "print('command')"]))
attempt("standard input", lambda: child([], "print('input')\n"))
attempt("- as a script", lambda: child(["-"], "print('input')\n"))
attempt("a written script", lambda: child([script]))
attempt("-m of a written module", lambda: child(["-m", "script"], PYTHONPATH=HERE))
attempt("PYTHONPATH", lambda: child(["/probe/wants.py"], PYTHONPATH=HERE))
attempt("an archive as a script", lambda: child([HERE + "/archive.zip"]))
