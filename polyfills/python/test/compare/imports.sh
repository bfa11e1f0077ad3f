# warm: json:re:argparse:logging:pkg_effects:pkg_tree.sub.leaf:pkg_alias:importlib.metadata:collections.abc:_json
cat > t.py <<'E'
import sys
names = lambda: sorted(n for n in sys.modules)
first = set(names())
assert not hasattr(sys, "json") and "json" not in sys.modules
import json
print(sorted(set(names()) - first), json.__file__, json.__spec__.name, json.__cached__, json.loads("[1]"))
first = set(names())
import pkg_tree
print(sorted(set(names()) - first), hasattr(pkg_tree, "late"), hasattr(pkg_tree, "sub"), pkg_tree.early.value)
from pkg_tree import late
print(late.value, hasattr(pkg_tree, "sub"), pkg_tree.__path__)
import pkg_tree.sub.leaf as leaf
print(leaf.pkg_tree is pkg_tree, pkg_tree.sub.late is late)
import importlib, importlib.util
print(hasattr(importlib, "metadata"), importlib.util.find_spec("argparse").origin, "argparse" in sys.modules)
print(importlib.import_module("argparse").__name__, importlib.import_module(".abc", "collections").__name__)
import importlib.metadata
print(importlib.metadata is sys.modules["importlib.metadata"])
import pkg_alias.moved
print(pkg_alias.moved.__name__, sorted(n for n in sys.modules if n.startswith("pkg_alias")))
old = sys.modules.pop("argparse")
import argparse
print(argparse is old, importlib.reload(argparse) is argparse)
try:
    import json.nothing
except ImportError as e:
    print(e, type(e))
try:
    from json import nothing
except ImportError as e:
    print(e)
print(sorted(p for p in sys.path_importer_cache))
import pkgutil
print([m.name for m in pkgutil.iter_modules(pkg_tree.__path__)], [m.name for m in pkgutil.walk_packages(pkg_tree.__path__, "pkg_tree.")])
E
python3 t.py
python3 -c 'import sys, copyreg, warnings
print(len(warnings.filters), len(copyreg.dispatch_table))
import pkg_effects, atexit
print(warnings.filters[0], warnings.filters[-1], pkg_effects.Thing in copyreg.dispatch_table, atexit._ncallbacks())'
python3 -c 'import atexit; atexit.register(print, "first"); import logging, pkg_effects; atexit.register(print, "last")'
python3 -c 'import sys; sys.modules["re"] = 7; import re; print(re)'
python3 -c 'import sys; sys.modules["json.decoder"] = None; import json'
python3 -c 'import sys; sys.path.clear(); sys.path_importer_cache.clear(); import json'
python3 -c 'import sys; sys.meta_path.insert(0, type("F", (), {"find_spec": lambda self, *a: print(a[0])})()); import json'
python3 -c 'import builtins, json.encoder as e; o = builtins.__import__
def f(name, *a, **k): print(name); return o(name, *a, **k)
builtins.__import__ = f
import argparse'
python3 -c 'import sys; sys.addaudithook(lambda e, a: e == "import" and print(a[0])); import json'
python3 -c 'import sys; sys.settrace(lambda f, e, a: print(f.f_code.co_name, f.f_code.co_filename) if "json" in f.f_code.co_filename else None); import json'
python3 -c 'import json.decoder, sys; del sys.modules["json"]; import json; print(json.decoder)'
python3 -c 'from json import *; print(sorted(k for k in globals() if k[0] != "_"))'
echo 'print("mine", __name__); from_here = 1' > re.py
python3 -c 'import json; print(json.decoder.re.__file__)' 2>&1 | tail -1
(mkdir elsewhere; cd elsewhere; echo 'import json; print(json.__file__, json.decoder.re.__file__)' > s.py; python3 s.py; mv ../re.py .; python3 s.py 2>&1 | tail -1; rm re.py; mkdir json; python3 s.py; touch json/__init__.py; python3 s.py 2>&1 | tail -1)
rm -f re.py; echo 'dumps = 1' > simplejson_that_is_absent.py; python3 -c 'import pkg_effects; print(pkg_effects.json.__name__)'
rm -rf simplejson* json; python3 -c 'import os, sys
open("json.py", "w").write("print(1)")
import json'
