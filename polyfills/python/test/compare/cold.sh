# cold
for o in -S -E -I -O -OO -P '-X utf8' '-W error' -b -x -v; do
    python3 $o -c 'import sys; print(sys.flags, sys.path[:2], sys.warnoptions, sys._xoptions)' 2> /dev/null
done
python3 -V; python3 --version; python3 -h | head -3; python3 -Z; echo $?; python3 -c; echo $?
for v in PYTHONHASHSEED=7 PYTHONPATH=/test PYTHONOPTIMIZE=1 PYTHONIOENCODING=latin1 PYTHONUTF8=1 PYTHONWARNINGS=error PYTHONINSPECT=1 \
    PYTHONNOUSERSITE=1 'LC_NUMERIC=C.UTF-8 LANG=C'; do
    env $v python3 -c 'import sys; print(sys.flags, sys.path, sys.warnoptions, sys.stdout.encoding, sys.stdout.errors)' < /dev/null
done
PYTHONHASHSEED=7 python3 -c 'print(hash("a"), list({"a", "b", "c", "d"}))'
mkdir -p h/.local/lib/python3.11/site-packages; echo 'import sys; sys.stdout.write("pth\n")' > h/.local/lib/python3.11/site-packages/a.pth
HOME=$PWD/h python3 -c 'import sys; print(sys.path[-3:])'
mkdir v; python3 -m venv --without-pip v; v/bin/python -c 'import sys; print(sys.prefix, sys.base_prefix, sys.executable)'
(cd v; ../v/bin/python -c 'import sys; print(sys.prefix, sys.executable)'; ../../usr/bin/python3 -c 'import sys; print(sys.prefix, sys.executable)')
