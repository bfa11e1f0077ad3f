"""html5lib: tag soup is read as browsers read it, walked, filtered and serialised."""
import html5lib
from html5lib import serializer, treewalkers

SOUP = """<!doctype html><title>x</title><p>one<p>two <b>bold <i>both</b> italic</i>
<table><tr><td>cell<div>in</div></table><svg viewBox="0 0 1 1"><path d=M0/></svg>&notin; &lt;&#x41;<script>a<b</script>"""

document = html5lib.parse(SOUP, namespaceHTMLElements=False)
for element in document.iter():
    tag = element.tag if isinstance(element.tag, str) else "comment"
    print(tag, sorted(element.attrib.items()), repr(element.text))
dom = html5lib.parse(SOUP, treebuilder="dom")
print([node.tagName for node in dom.getElementsByTagName("*")])
walker = treewalkers.getTreeWalker("etree")
for options in ({}, {"omit_optional_tags": False, "quote_attr_values": "always"}, {"strip_whitespace": True, "sanitize": True}):
    print("".join(serializer.HTMLSerializer(**options).serialize(walker(html5lib.parseFragment("<p class=a>x  y<p onclick=z()>&amp;<br><ul><li>1<li>2</ul>")))))
parser = html5lib.HTMLParser()
parser.parse("<p><div></p></b>")
print([(code, sorted(data)) for _, code, data in parser.errors])
