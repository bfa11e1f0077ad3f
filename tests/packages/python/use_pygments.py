"""Pygments: code to tokens, terminal colours, HTML and LaTeX; lexers found by name, file name and content."""
from collections import Counter

from pygments import highlight, lex
from pygments.filters import KeywordCaseFilter
from pygments.formatters import HtmlFormatter, LatexFormatter, TerminalFormatter
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename, guess_lexer
from pygments.token import Token, is_token_subtype
from pygments.util import ClassNotFound

PYTHON = '@cached\nasync def f(x: int = 0x1F) -> str:\n    """Doc."""\n    return f"{x!r:>10} \\n" if x else None  # why\n'
for token, text in lex(PYTHON, get_lexer_by_name("python")):
    print(token, repr(text))
print(highlight(PYTHON, get_lexer_by_name("python"), HtmlFormatter(linenos="inline", cssclass="c", hl_lines=[2])))
print(repr(highlight('{"a": [1, null, "x"]}', get_lexer_by_name("json"), TerminalFormatter(bg="dark"))))
print(highlight("SELECT 'a' FROM t -- c\n", get_lexer_by_name("sql"), LatexFormatter()))
for source, name in (("#include <x>\nint main(void) { return 'c'; }\n", "a.c"), ("fn main() -> Result<(), E> { let x = 1u8..; }", "a.rs"), ("a: [1, {b: *c}]\n", "a.yaml"), ("x = $(cat <<E\n$y\nE\n)", "a.sh"), ("<a href=x>&amp;<style>b{c:d}</style>", "a.html")):
    lexer = get_lexer_for_filename(name)
    counts = Counter(str(token) for token, _ in lexer.get_tokens(source))
    print(lexer.name, sorted(counts.items()), "".join(text for _, text in lexer.get_tokens(source)).strip() == source.strip())
print(guess_lexer("#!/usr/bin/env perl\nuse strict;").name, is_token_subtype(Token.Keyword.Type, Token.Keyword))
lexer = get_lexer_by_name("sql")
lexer.add_filter(KeywordCaseFilter(case="upper"))
print("".join(text for _, text in lex("select a from b where c is null", lexer)).strip(), len(HtmlFormatter(style="monokai").get_style_defs(".x").splitlines()) > 50)
try:
    get_lexer_by_name("nothing")
except ClassNotFound as error:
    print(error)
