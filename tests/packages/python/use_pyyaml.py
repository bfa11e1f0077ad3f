"""PyYAML: documents with anchors, tags, all styles of scalars; dumped again; errors with their marks."""
import datetime
from dataclasses import dataclass

import yaml

TEXT = """
%YAML 1.1
---
base: &base {name: tool, tags: [a, 'b c', "d\\te\\u00e9"]}
derived:
  <<: *base
  name: other
  count: 0x1F
  float: -1.5e3
  none: ~
  yes: on
  date: 2024-02-29
  time: 2024-02-29T12:30:45.5+02:00
  sexagesimal: 1:30
  binary: !!binary aGVsbG8=
  set: !!set {x}
literal: |
  line one
    indented
folded: >-
  words that
  fold

  here
? "quoted\\tkey"
: value
...
---
- second
- - nested
  - *x
""".replace("- *x", "- x")

for document in yaml.safe_load_all(TEXT):
    print(document)


@dataclass
class Point:
    x: int
    y: int


class Loader(yaml.SafeLoader):
    pass


class Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return isinstance(data, str)


Loader.add_constructor("!point", lambda loader, node: Point(**loader.construct_mapping(node)))
Dumper.add_representer(Point, lambda dumper, point: dumper.represent_mapping("!point", vars(point)))
shared = [1, 2]
data = {"point": Point(1, 2), "shared": [shared, shared], "text": "two\nlines\n", "odd": ["yes", "1", "null", "", "a: b", " x"], "ü": 1.5, "when": datetime.date(2024, 2, 29), "big": 10**20}
text = yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=60)
print(text, yaml.load(text, Loader) == data)
print(yaml.safe_dump({"b": [1, {"c": None}], "a": "x"}, default_flow_style=True), yaml.safe_dump("multi\nline", default_style="|"), end="")
print([type(event).__name__ for event in yaml.parse("a: [1, *b]")][:8], [t.__class__.__name__ for t in yaml.scan("- x")])
for bad in ("a: b: c", "[1, 2", "a: *missing", "\tx", "!!python/object/apply:os.system ['x']", "key: 'open", "a: 1\n b: 2"):
    try:
        yaml.safe_load(bad)
    except yaml.YAMLError as error:
        print(type(error).__name__, error.problem, error.problem_mark.line, error.problem_mark.column)
