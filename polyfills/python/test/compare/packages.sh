# warm: ssl:sqlite3:decimal:zipfile:xml.etree.ElementTree:hashlib
python3 -c 'import ssl, sqlite3, lzma, bz2, zlib, decimal, pyexpat, mmap, fcntl, termios, resource, pwd, grp, select, socket, readline
import _posixsubprocess, _multiprocessing, uuid, audioop, unicodedata, _crypt, syslog, spwd
for m in ssl._ssl, sqlite3.dbapi2.sqlite3 if hasattr(sqlite3.dbapi2, "sqlite3") else sqlite3, lzma._lzma, mmap, readline, zlib, audioop:
    print(m.__name__, getattr(m, "__file__", None), m.__spec__.origin, type(m.__loader__).__name__ if not isinstance(m.__loader__, type) else m.__loader__.__name__)
print(decimal.Decimal(1) / 7, sqlite3.connect(":memory:").execute("select sqlite_version() is not null, json(1)").fetchall())
print(zlib.crc32(b"x"), lzma.decompress(lzma.compress(b"x")), bz2.decompress(bz2.compress(b"x")), unicodedata.name("a"))
print(ssl.create_default_context().verify_mode, pwd.getpwuid(0).pw_name, grp.getgrgid(0).gr_name)'
for m in _testcapi _testbuffer _testinternalcapi _testimportmultiple _testmultiphase _testclinic _xxsubinterpreters xxsubtype xxlimited xxlimited_35 _xxtestfuzz; do
    python3 -c "import $m; print($m.__spec__.origin, type($m.__spec__.loader).__name__)"
done
python3 -c 'import importlib.machinery as m, importlib.util as u, _testmultiphase
l = m.ExtensionFileLoader("_testmultiphase_nonmodule", _testmultiphase.__file__); s = u.spec_from_loader(l.name, l)
print(type(u.module_from_spec(s)).__name__, m.EXTENSION_SUFFIXES)
l = m.ExtensionFileLoader("_no_such", _testmultiphase.__file__)
try: u.module_from_spec(u.spec_from_loader(l.name, l))
except ImportError as e: print(e)'
python3 -c 'import zipfile; z = zipfile.ZipFile("a.zip", "w"); z.writestr("__main__.py", "import sys, m; print(sys.argv, sys.path[0], m.x)"); z.writestr("m.py", "x = 1"); z.close()'
python3 a.zip b
python3 -c 'import subprocess, sys; print(subprocess.run([sys.executable, "-c", "print(6*7)"], capture_output=True).stdout)'
python3 -c 'import compileall, sys; open("c.py", "w").write("import sys; print(__file__, sys.argv)"); compileall.compile_file("c.py", quiet=1, legacy=True)'; rm c.py; python3 c.pyc x
