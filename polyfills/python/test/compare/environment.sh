A=1 python3 -c 'import os; print(sorted(os.environ.items())); os.environ["B"] = "2"; os.system("echo $A $B"); print(os.environb[b"A"], os.getenv("B"))'
env -i /usr/bin/python3 -c 'import os, sys; print(os.environ, sys.executable)'
env -i HOME=/tmp/ "X=$(printf '\377')" /usr/bin/python3 -c 'import os, site; print(os.environ, site.USER_BASE, site.USER_SITE, site.ENABLE_USER_SITE)'
for h in HOME= HOME=/ HOME=rel/ '-u HOME'; do
    env $h python3 -c 'import os, site, sys; print(os.environ.get("HOME"), site.USER_BASE, site.USER_SITE, site.ENABLE_USER_SITE, "pwd" in sys.modules, os.path.expanduser("~/x"))'
done
(cd /usr; for p in bin/python3 ./bin/python3; do $p -c 'import sys; print(sys.executable, sys.prefix, sys.argv, sys.orig_argv)'; done)
(cd /usr/bin; ./python3 -c 'import sys; print(sys.executable, sys.prefix, sys._base_executable)')
env -i HOME=/tmp/ /usr/bin/python3 -s -c 'import site; print(site.USER_BASE, site.USER_SITE, site.ENABLE_USER_SITE)'
for v in '-u LANG' LANG=C LC_ALL=C LC_ALL=POSIX LC_ALL=nowhere 'LC_ALL=C LC_NUMERIC=C.UTF-8' LANG=C.UTF-8 LC_ALL=C.UTF-8 '-u LANG LC_CTYPE=POSIX' LANG=en_XX.UTF-8 TZ=America/New_York TZ=UTC-3 PYTHONUNBUFFERED=1 \
    PYTHONUNBUFFERED=0 PYTHONDONTWRITEBYTECODE=x PYTHONHASHSEED=random PYTHON_VERSION=3; do
    env $v python3 -c 'import sys, time, locale, os
print(sys.flags, sys.stdin.errors, sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors, sys.stdout.write_through)
print(time.tzname, time.localtime(0)[:6], locale.setlocale(locale.LC_ALL), locale.getpreferredencoding(), os.environ.get("LC_CTYPE"))
print(open("/dev/null").encoding, sys.getfilesystemencoding(), sys.getfilesystemencodeerrors(), ascii(os.fsdecode(b"\xff")))'
done
printf 'print("\303\244")' | python3 -
python3 -c 'print(ascii("ä"), ascii("'"$(printf '\377')"'"))' "$(printf '\377')"
python3 -c 'import sys; print(ascii(sys.argv))' "$(printf 'a\377\303\244')"
(cd / && python3 -c 'import os; print(os.getcwd())')
(umask 027 && python3 -c 'import os; print(oct(os.umask(0)))')
python3 -c 'import sys; print(sys.stdin, sys.stdout is sys.__stdout__)' <&-
python3 -c 'import sys; sys.exit(sys.stdout is None)' >&-; echo $?
python3 -c 'import os; print(os.getpid() == int(os.readlink("/proc/self")))'
