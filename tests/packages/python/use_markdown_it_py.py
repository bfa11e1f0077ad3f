"""markdown-it-py: CommonMark to tokens, a tree and HTML, with a rule of our own."""
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

TEXT = """Head
====

1. one
2. two
   - *nested* `code`

[ref]: /url 'title'
A [link][ref], <b>html</b>, "quotes" -- and...  
break &amp; www

|a|b|
|-|:-:|
|1|~~2~~|

```sh
echo <hi>
```
"""

md = MarkdownIt("commonmark", {"typographer": True}).enable(["table", "strikethrough", "replacements", "smartquotes"])
print(md.render(TEXT))
tokens = md.parse(TEXT)
print([(t.type, t.tag, t.nesting, t.map) for t in tokens if t.block and t.level == 0])
print(SyntaxTreeNode(tokens).pretty(indent=2)[:600])


def render_link(self, tokens, index, options, env):
    tokens[index].attrSet("rel", "nofollow")
    return self.renderToken(tokens, index, options, env)


md.add_render_rule("link_open", render_link)
print(md.renderInline("[a](javascript:alert(1)) [b](http://ex.example/ä) <http://c.example>"))
print(MarkdownIt("zero").enable("emphasis").render("# no *yes* [no](x)"), MarkdownIt("js-default", {"html": False}).render("<i>x</i>"))
