"""lark: a grammar for small programs, parsed by two algorithms, transformed and run."""
from lark import Lark, Token, Transformer, UnexpectedInput, Visitor, v_args

GRAMMAR = r"""
    start: statement+
    statement: NAME "=" sum ";"   -> assign
             | "print" sum ";"    -> show
    ?sum: product | sum "+" product -> add | sum "-" product -> sub
    ?product: power | product "*" power -> mul | product "/" power -> div
    ?power: atom | atom "^" power -> pow
    ?atom: NUMBER -> number | "-" atom -> neg | NAME -> name | "(" sum ")"
    COMMENT: /#[^\n]*/
    %import common.CNAME -> NAME
    %import common.NUMBER
    %import common.WS
    %ignore WS
    %ignore COMMENT
"""
PROGRAM = "x = 2 + 3 * 4; # a comment\ny = (x - 1) ^ 2 ^ 0 / 4;\nprint x; print -y + 2.5; print 2^3^2;"


@v_args(inline=True)
class Run(Transformer):
    from operator import add, mul, neg, pow, sub, truediv as div

    def __init__(self):
        super().__init__()
        self.names = {}

    number = float
    name = lambda self, name: self.names[name]

    def assign(self, name, value):
        self.names[str(name)] = value

    def show(self, value):
        print("show", value)


lalr = Lark(GRAMMAR, parser="lalr", propagate_positions=True)
earley = Lark(GRAMMAR, parser="earley")
tree = lalr.parse(PROGRAM)
print(tree.pretty())
print(tree == earley.parse(PROGRAM), [str(t) for t in tree.scan_values(lambda v: isinstance(v, Token) and v.type == "NAME")])
print([(s.data, s.meta.line, s.meta.column) for s in tree.children])
Run().transform(tree)
for bad in ("x = ;", "print 3 $;", "x = (1;"):
    try:
        lalr.parse(bad)
    except UnexpectedInput as error:
        print(type(error).__name__, error.line, error.column, error.get_context(bad).splitlines()[0])
