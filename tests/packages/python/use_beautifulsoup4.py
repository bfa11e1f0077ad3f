"""Beautiful Soup: a page with broken markup is parsed, searched, changed and printed."""
from bs4 import BeautifulSoup, Comment, NavigableString

PAGE = """<html><head><title>Tools &amp; more</title></head>
<body><!-- navigation --><ul id=nav><li><a href="/a">First<li><a href='/b?x=1&y=2' class="hot big">Second</a></ul>
<table><tr><th>name<th>size</tr><tr><td>awk<td>12</tr><tr><td>sed<td>7</table>
<p>Some <b>bold <i>nested</b></i> text &copy; &#8364;5<br>end</p></body>"""

soup = BeautifulSoup(PAGE, "html.parser")
print(soup.title.string, "|", soup.find(id="nav").name)
for link in soup.select("ul#nav a[href]"):
    print(link["href"], link.get("class"), link.find(string=True).strip())
rows = [[cell.find(string=True, recursive=False).strip() for cell in row.find_all(["td", "th"])] for row in soup.find_all("tr")]
print(rows)
print([str(c).strip() for c in soup.find_all(string=lambda text: isinstance(text, Comment))])
print(soup.p.get_text("|", strip=True))
soup.b.name = "strong"
soup.i.unwrap()
note = soup.new_tag("em", title="quote \" and <")
note.append(NavigableString("3 < 4"))
soup.p.insert_after(note)
soup.find("a", class_="hot")["class"].append("new")
print(soup.p, soup.em, sep="\n")
print(soup.select_one("a.hot.big:not(.cold)").parent.name, len(list(soup.descendants)))
print(soup.ul.prettify(formatter="html5"))
