# warm: pkg_asks:pkg_patches:pkg_spread.part:platform:logging
python3 -c 'import pkg_tree, sys; print(pkg_tree.early.value, hasattr(pkg_tree, "added"), "pkg_patches" in sys.modules, "colorsys" in sys.modules)
import pkg_patches; print(pkg_tree.early.value, pkg_tree.added.__name__, "colorsys" in sys.modules)'
python3 -c 'import pkg_lazy.moves as m; print(sorted(k for k in vars(m) if k[0] != "_"), sorted(k for k in vars(type(m)) if k[0] != "_"), m.__spec__.loader is __import__("sys").meta_path[-1])
import sys; print("colorsys" in sys.modules, m.colorsys.__name__, "colorsys" in sys.modules, sorted(vars(type(m)))[-1])'
python3 -c 'import pkg_patches, pkg_lazy.moves as m; print(sorted(k for k in vars(m) if k[0] != "_"), sorted(k for k in vars(type(m)) if k[0] != "_"))'
python3 -c 'import logging; print(sorted(logging.root.manager.loggerDict)); import pkg_patches; print(logging.root.manager.loggerDict["pkg.patches"].parent, sorted(logging.root.manager.loggerDict))'
python3 -c 'import logging; l = logging.getLogger("pkg"); import pkg_patches; print(logging.getLogger("pkg.patches").parent is l)'
python3 -c 'import pkg_tree; pkg_tree.early.value = 7; import pkg_patches; print(pkg_tree.early.value)'
python3 -c 'import platform; print(platform._uname_cache); import pkg_patches, os; print(platform.uname().node == os.uname().nodename)'
python3 -c 'import pkg_asks; print(pkg_asks.asked)'
PKG_ASKED=this python3 -c 'import pkg_asks; print(pkg_asks.asked)'
python3 -c 'import os; os.environ["PKG_ASKED"] = "that"; import pkg_asks; print(pkg_asks.asked, type(os.environ._data), os.environ._data is os.environb._data)'
python3 -c 'import sys, pkg_spread.part as p; print(p.value, list(sys.modules["pkg_spread"].__path__), sys.modules["pkg_spread"].__file__)'
mkdir pkg_spread; echo 'value = "mine"' > pkg_spread/__init__.py; python3 -c 'import pkg_spread; print(pkg_spread.value)'
rm pkg_spread/__init__.py; echo 'value = 4' > pkg_spread/more.py; python3 -c 'import pkg_spread.more, pkg_spread.part; print(pkg_spread.more.value + pkg_spread.part.value, len(pkg_spread.__path__))'
rm -r pkg_spread; python3 -c 'import pkg_half, pkg_tree; print(len(pkg_half.pkg_random.token), pkg_tree.early.value)'
