"""idna: domain names between Unicode and Punycode, with the checks of IDNA 2008 and UTS 46."""
import idna
from idna import uts46_remap

for name in ("münchen.de", "пример.испытание", "例え.テスト", "faß.example", "ドメイン.テスト", "xn--eckwd4c7c.xn--zckzah", "plain.example"):
    encoded = idna.encode(name)
    print(name, encoded, idna.decode(encoded))
print(idna.encode("Königsgäßchen.Example", uts46=True), idna.encode("faß.de", uts46=True, transitional=False))
print(uts46_remap("ＦＵＬＬ．Ⅷ"), idna.alabel("été"), idna.ulabel("xn--t-9fab"))
for bad in ("Königs.de", "a..b", "-x-.de", "x" * 64 + ".de", "a\u0301b c.de", "\u05d0a.de", "xn--0.de", "\u200d.de"):
    try:
        print(bad[:10], idna.encode(bad))
    except idna.IDNAError as error:
        print(type(error).__name__, str(error)[:90])
