"""tabulate: one table in many formats, with alignment, wide characters, missing values and wrapping."""
from tabulate import SEPARATING_LINE, simple_separated_format, tabulate, tabulate_formats

ROWS = [["awk", 12.5, None, "plain"], ["größe", -3, True, "two\nlines"], ["x|y<z", 1234567.891, "0x1F", ""]]
HEADERS = ["name", "size", "flag", "text"]
for form in ("plain", "simple", "github", "grid", "fancy_grid", "pipe", "orgtbl", "rst", "html", "latex", "mediawiki", "tsv", "double_outline", "asciidoc", "jira"):
    print(form, tabulate(ROWS, headers=HEADERS, tablefmt=form, missingval="?"), sep="\n")
print(tabulate({"b": [1, 2], "a": ["x", "y"]}, headers="keys", showindex=True, floatfmt=".2f"))
print(tabulate([{"k": 1, "v": 2.0}, {"k": 10, "w": "z"}], headers="keys", numalign="center", stralign="right"))
print(tabulate([["a long text that wraps", 1.23456], ["short", 22.1]], maxcolwidths=[10, None], floatfmt=(None, ".1f"), tablefmt="grid"))
print(tabulate([[1, 2], SEPARATING_LINE, [3, 4]], tablefmt="simple", headers=["a", "b"]), tabulate([["1.10", "007"]], disable_numparse=[1], tablefmt="plain"))
print(tabulate([["x", "y"], ["1", "2"]], headers="firstrow", tablefmt=simple_separated_format("; ")), tabulate([], headers=["none"]), len(tabulate_formats) > 20)
