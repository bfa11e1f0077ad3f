"""TOML Kit: a document is changed and keeps its comments and style; all kinds of values; errors with their place."""
from datetime import date, datetime, timezone

import tomlkit
from tomlkit.exceptions import TOMLKitError

TEXT = """# A tool's configuration
title = "Tools"   # the title

[owner]
name = 'Ada "L"'
dob = 1979-05-27T07:32:00-08:00

[servers]
  [servers.alpha]
  ip = "10.0.0.1"
  ports = [ 8000, 8001, # two
            0xFF, ]
  ratio = 1_000.5e-1
  "quoted key" = { x = 1, y.z = true }

[[item]]
text = \"\"\"
multi \\
   line\"\"\"
raw = '''C:\\x'''
[[item]]
when = 07:32:00
inf = -inf
"""

document = tomlkit.parse(TEXT)
print(tomlkit.dumps(document) == TEXT, document.unwrap())
document["title"] = "New"
document["servers"]["alpha"]["ports"].append(9000)
document["servers"]["beta"] = {"ip": "10.0.0.2", "up": False}
document["owner"].add(tomlkit.comment("added"))
document["owner"].add("since", date(2020, 1, 2))
del document["item"][0]["raw"]
document["item"].append({"n": 3})
print(tomlkit.dumps(document))
table = tomlkit.table()
table.add("when", datetime(2024, 2, 29, 12, tzinfo=timezone.utc)).add(tomlkit.nl())
inline = tomlkit.inline_table()
inline.update({"a": [1, 2], "b": "x\ty"})
made = tomlkit.document()
made.add("table", table)
made["table"]["inline"] = inline
array = tomlkit.array()
array.extend(["one", "two"])
array.multiline(True)
made["table"]["array"] = array
print(made.as_string(), tomlkit.parse(made.as_string()) == made)
for bad in ("a = 1\na = 2", "x = [1, 2", "= 3", "d = 2024-13-01", 's = "open', "[t]\n[t]", "n = 01"):
    try:
        tomlkit.parse(bad)
    except TOMLKitError as error:
        print(type(error).__name__, error)
