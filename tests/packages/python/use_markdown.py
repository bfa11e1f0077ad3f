"""Markdown: text to HTML with extensions, metadata and an extension of our own."""
import xml.etree.ElementTree as etree

import markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

TEXT = """Title: A page
Author: x

# Head *one* {#top}

Para with **bold**, `code <b>`, [link](http://a.example "t"), ![img](i.png) and ~~gone~~.

* item
    1. nested
    2. two

> quote
> more

| a | b |
|:--|--:|
| 1 | 2 |

```python
x = 1 < 2
```

Term[^1]
:   Definition

[^1]: The note.
"""


class Strike(Extension):
    class Rule(InlineProcessor):
        def handleMatch(self, match, data):
            element = etree.Element("del")
            element.text = match.group(1)
            return element, match.start(0), match.end(0)

    def extendMarkdown(self, md):
        md.inlinePatterns.register(self.Rule(r"~~(.+?)~~", md), "strike", 175)


md = markdown.Markdown(extensions=["meta", "tables", "fenced_code", "footnotes", "def_list", "attr_list", "toc", Strike()])
print(md.convert(TEXT))
print(md.Meta, md.toc_tokens)
print(markdown.markdown("line  \nbreak\n\n<div>*raw*</div>\n\n1\\. no list &amp; &copy; <http://x.example>", output_format="html"))
