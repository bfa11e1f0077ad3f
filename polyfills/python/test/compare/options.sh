cat > show.py <<'E'
import os, sys
print(sys.argv, sys.orig_argv, sys.flags, sys.executable, sys.dont_write_bytecode)
print(repr(sys.path[0]), __name__, globals().get("__file__"), sys.stdout.line_buffering, sys.stdout.write_through)
E
mkdir pack; cp show.py pack/__init__.py; cp show.py pack/__main__.py; cp show.py pack/mod.py
python3 show.py a -c b
python3 ./show.py
python3 "$PWD/show.py"
python3 -- show.py -x
python3 -uBsq show.py
python3 -c 'import sys; print(sys.argv, sys.orig_argv, repr(sys.path[0]))' -c 1
python3 -Bc 'import sys; print(sys.argv, sys.flags.dont_write_bytecode)'
python3 -cprint\(1\)
python3 -m show a
python3 -m pack.mod -m b
python3 -m pack
python3 pack x
python3 - a b < show.py
python3 < show.py
python3 /dev/stdin < show.py
echo 'import sys; print(sys.path[0])' | python3 -u
(cd pack && python3 mod.py)
python3 -i -c 'print(2)' < /dev/null
python3 -qi show.py < /dev/null 2>&1
printf '1+1\nimport sys\nsys.ps1\nraise SystemExit(3)\n' | python3 -q -i 2>&1; echo $?
python3 -c ''; python3 -c 'x = '; echo $?
python3 nothing.py; echo $?
python3 .; echo $?
python3 -m nothing; echo $?
python3.11 -c 'import sys; print(sys.executable, sys.prefix)'
/usr/bin/python3 -c 'import sys; print(sys.executable, sys.base_prefix)'
