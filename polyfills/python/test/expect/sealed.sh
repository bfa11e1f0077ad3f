# warm: json
# cold
export MEGALITH_SIMULATE_SEALED=/usr:/etc:$PWD/good:/test
mkdir good bad
echo 'import sys; print("good", sys.argv); sys.path.insert(0, "'$PWD'/bad"); import evil' > good/main.py
echo 'print("evil")' > bad/evil.py
last() { "$@" 2>&1 < /dev/null | tail -1; }
last python3 good/main.py a
last python3 bad/evil.py
last python3 -c 'print(1)'
echo 'print(1)' | python3 2>&1 | tail -1
echo 'print(1)' | python3 - 2>&1 | tail -1
echo 'print(1)' > good/ok.py; last python3 -i good/ok.py
(cd bad; last python3 -m evil)
(cd good; last python3 -m ok)
last python3 -m json.tool --help
PYTHONPATH=bad last python3 good/main.py
echo 'import evil' > good/import_evil.py; PYTHONPATH=bad last python3 good/import_evil.py
PYTHONSTARTUP=$PWD/bad/evil.py last python3 -q
unsealed() { env -u MEGALITH_SIMULATE_SEALED python3 "$@"; }
unsealed -c 'import zipfile; z = zipfile.ZipFile("bad/z.zip", "w"); z.writestr("zipped.py", "print(1)"); z.writestr("__main__.py", "print(2)")'
echo 'import sys; sys.path.insert(0, "'$PWD'/bad/z.zip"); import zipped' > good/z.py
last python3 good/z.py; last python3 bad/z.zip
unsealed -c 'import py_compile; py_compile.compile("bad/evil.py", cfile="bad/compiled.pyc")'
echo 'import sys; sys.path.insert(0, "'$PWD'/bad"); import compiled' > good/c.py
last python3 good/c.py; last python3 bad/compiled.pyc
echo 'import runpy; runpy.run_path("'$PWD'/bad/evil.py")' > good/r.py; last python3 good/r.py
echo 'exec("print(3)")' > good/e.py; last python3 good/e.py
