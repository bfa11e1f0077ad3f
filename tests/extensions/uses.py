"""Uses two native extensions; what it prints is the same natively."""

import os
import sys

import markupsafe
import yaml
from markupsafe import _speedups
from yaml import _yaml

for module in _speedups, _yaml:
    spec = module.__spec__
    assert module.__file__ == spec.origin and os.path.exists(module.__file__)
    print(module.__name__, os.path.basename(module.__file__), type(spec.loader).__name__, spec.has_location)
    assert module.__name__ not in sys.builtin_module_names


class Html:
    def __html__(self):
        return "<as it is>"

    def __str__(self):
        return "text"


print(markupsafe.escape is _speedups.escape, type(_speedups.escape).__name__)
for value in "plain", "<a href=\"x\">'&'</a>", "é<", "漢字&", "\U0001f9ad>", "", 42, None, Html():
    print(repr(_speedups.escape(value)), repr(_speedups.escape_silent(value)), repr(_speedups.soft_str(value)))
print(_speedups.escape("<" * 100000) == "&lt;" * 100000)
try:
    _speedups.escape()
except TypeError as error:
    print(error)
print(markupsafe.Markup("<b>%s</b> {}").format("<x>") % "&")

TEXT = """
name: &name Sëal
list: [1, 2.5, 0x1f, true, null, 2022-11-22]
same: *name
nested: {a: {b: [c, "d\\te", 'f']}}
block: |
  two
  lines
folded: >
  one
  line
"""
print(yaml.__with_libyaml__, _yaml.get_version_string(), yaml.CSafeLoader.__mro__[1].__name__)
value = yaml.load(TEXT, Loader=yaml.CSafeLoader)
print(value)
assert value == yaml.load(TEXT, Loader=yaml.SafeLoader)
out = yaml.dump(value, Dumper=yaml.CSafeDumper, allow_unicode=True)
print(out)
assert out == yaml.dump(value, Dumper=yaml.SafeDumper, allow_unicode=True)
print([type(event).__name__ for event in yaml.parse(TEXT, Loader=yaml.CLoader)])
for text in "a: [1", "a: b: c", "\t- x", "*none", "!!python/object/apply:os.getpid []", "\0":
    try:
        print(yaml.load(text, Loader=yaml.CSafeLoader))
    except yaml.YAMLError as error:
        print(type(error).__name__, str(error).replace("\n", " | "))
print(len(yaml.load("".join(f"- {{a: {n}, b: x{n}}}\n" for n in range(3000)), Loader=yaml.CSafeLoader)))
