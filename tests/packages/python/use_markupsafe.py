"""MarkupSafe: text that is escaped once, formatted and joined safely."""
from markupsafe import Markup, escape, escape_silent, soft_str


class Badge:
    def __html__(self):
        return Markup("<b class=badge>{}</b>").format("<n>")

    def __html_format__(self, spec):
        return Markup("<i>{}</i>").format(spec or "plain")


text = "<script>alert('x & \"y\"')</script>"
print(escape(text), escape(escape(text)) == escape(text), escape(Badge()), repr(escape_silent(None)))
print(Markup("<em>%s</em> %d") % ("<a>", 5), Markup("%(a)s") % {"a": "&"})
print(Markup("{0} {1!r} {b:loud} {c[0]}").format("<", ">", b=Badge(), c=["'"]))
print(Markup("<br>").join(["a<", Markup("<b>")]), Markup("x") + "<" + Markup(">"), "<" + Markup("&amp;"))
print(Markup("<p>a &lt; b &copy; <!-- no --> <b>c</b>  d</p>").striptags(), Markup("&lt;&#62;&eacute;").unescape())
parts = Markup("a<b,c&d").split(",")
print(parts, [type(p).__name__ for p in parts], Markup("ab") * 2, Markup("<x>").lower().replace("x", "<y>"))
print(type(soft_str(Markup("m"))).__name__, escape(5), Markup.escape("'"), Markup("<q>")[1:2], escape("".join(map(chr, range(32, 127)))))
