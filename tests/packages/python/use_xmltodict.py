"""xmltodict: XML to dictionaries and back, with attributes, namespaces, forced lists, streaming and errors."""
import json
from xml.parsers.expat import ExpatError

import xmltodict

TEXT = """<?xml version="1.0" encoding="utf-8"?>
<tools xmlns="http://d.example/" xmlns:x="http://x.example/" kind="all &amp; more">
  <tool id="1"><name>awk</name><size unit="k">12</size></tool>
  <tool id="2"><name>s&#233;d</name><x:note>one<![CDATA[ <two> ]]></x:note><empty/></tool>
  mixed text
</tools>"""

print(json.dumps(xmltodict.parse(TEXT), indent=1))
names = {"http://d.example/": None, "http://x.example/": "ex"}
print(xmltodict.parse(TEXT, process_namespaces=True, namespaces=names)["tools"]["tool"][1])
print(xmltodict.parse("<a><b>1</b></a>", force_list=("b",), xml_attribs=False), xmltodict.parse("<a> x </a>", strip_whitespace=False), xmltodict.parse("<a><!-- c --><b/></a>", process_comments=True))
print(xmltodict.parse("<a><n>5</n><f>x</f></a>", postprocessor=lambda path, key, value: (key, int(value) if isinstance(value, str) and value.isdigit() else value)))
seen = []
xmltodict.parse(TEXT, item_depth=2, item_callback=lambda path, item: seen.append((path[-1][0], dict(path[-1][1] or {}), item["name"] if isinstance(item, dict) else item)) or True)
print(seen)
document = {"r": {"@id": "7", "item": ["a", {"#text": "b<&>", "@n": "\"q\""}, None, True], "deep": {"x": {"y": 1.5}}}}
print(xmltodict.unparse(document, pretty=True, indent="  "))
print(xmltodict.parse(xmltodict.unparse(document))["r"]["item"], xmltodict.unparse({"a": None}, short_empty_elements=True, full_document=False))
for bad in ("<a><b></a>", "", "<a>&undefined;</a>"):
    try:
        print(xmltodict.parse(bad))
    except ExpatError as error:
        print("ExpatError", error)
try:
    xmltodict.unparse({"a": 1, "b": 2})
except ValueError as error:
    print("ValueError", error)
