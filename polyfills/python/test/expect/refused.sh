# warm: pkg_environ:pkg_random:pkg_thread:pkg_indirect:pkg_half:pkg_absent:json
python3 -c 'import sys, os; print("PKG" in os.environ, "json" in sys.modules, "pkg_environ" in sys.modules)'
python3 -c 'import pkg_indirect, os; print(os.environ["PKG"])' 2> /dev/null
python3 -c 'import gc; gc.unfreeze(); print([o.name for o in gc.get_objects() if type(o).__name__ == "Warmed" and o.name.startswith("pkg_")])' 2> /dev/null
