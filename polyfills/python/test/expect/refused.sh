# warm: pkg_environ:pkg_random:pkg_thread:pkg_indirect:pkg_absent:json
python3 -c 'import sys, os; print("PKG" in os.environ, "json" in sys.modules, "pkg_environ" in sys.modules)'
python3 -c 'import pkg_indirect, os; print(os.environ["PKG"])' 2> /dev/null
