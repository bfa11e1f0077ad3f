# warm: _json
# scripts: /test/tool/tool.py:/test/tool/broken.py:/test/tool/absent.py
python3 -c 'import gc; gc.unfreeze(); print(*sorted({o.name for o in gc.get_objects() if type(o).__name__ == "Warmed"} & {
    "pkg_tree", "pkg_tree.early", "pkg_tree.late", "beside", "xml.dom.minidom", "xml.dom.expatbuilder", "pkg_random", "pkg_effects", "colorsys", "pkg_spread.part", "_json"}))'
