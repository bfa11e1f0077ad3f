"""pyparsing: an arithmetic parser, a configuration grammar, and where errors are."""
import operator

import pyparsing as pp

pp.ParserElement.enable_packrat()
number = pp.common.number()
expression = pp.infix_notation(number | pp.common.identifier, [
    ("!", 1, pp.OpAssoc.LEFT), ("-", 1, pp.OpAssoc.RIGHT), ("^", 2, pp.OpAssoc.RIGHT), (pp.one_of("* /"), 2, pp.OpAssoc.LEFT), (pp.one_of("+ -"), 2, pp.OpAssoc.LEFT)])
print(expression.parse_string("2+3*-x^2^n!/(4 - 1.5)", parse_all=True).as_list())
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def fold(tokens):
    value, *rest = tokens[0]
    for name, operand in zip(rest[::2], rest[1::2]):
        value = OPERATORS[name](value, operand)
    return value


calculator = pp.infix_notation(number, [(pp.one_of("* /"), 2, pp.OpAssoc.LEFT, fold), (pp.one_of("+ -"), 2, pp.OpAssoc.LEFT, fold)])
print(calculator.parse_string("1 + 2 * (3 - 4) / 8")[0])

key, string = pp.Word(pp.alphas, pp.alphanums + "_"), pp.QuotedString('"', esc_char="\\")
value = pp.Forward()
items = pp.Group(pp.Suppress("[") + pp.Optional(pp.DelimitedList(value)) + pp.Suppress("]"))
value <<= string | pp.common.number | items | pp.Keyword("true").set_parse_action(lambda: True)
section = pp.Group(pp.Suppress("<") + key("name") + pp.Suppress(">") + pp.Dict(pp.ZeroOrMore(pp.Group(key + pp.Suppress("=") + value)))("values"))
grammar = pp.OneOrMore(section).ignore(pp.python_style_comment)
for part in grammar.parse_string('<one> a = 1 # note\n b = "x \\" y" <two> list = [1, [2.5, true], "z"] on = true', parse_all=True):
    print(part.name, part["values"].as_dict() if hasattr(part["values"], "as_dict") else part["values"])
print([(t.as_list(), s, e) for t, s, e in pp.common.ipv4_address.scan_string("from 10.0.0.1 to 192.168.1.255")], pp.nested_expr().parse_string("(a (b c) d)").as_list())
print(pp.common.iso8601_date().search_string("on 2024-02-29 and 2023-1-1").as_list(), pp.Word(pp.nums).set_parse_action(lambda t: int(t[0]) * 2).transform_string("a1 b20"))
for bad in ("<one> a = ", "<one> a = [1, ] ", "<1>"):
    try:
        grammar.parse_string(bad, parse_all=True)
    except pp.ParseException as error:
        print(error.lineno, error.column, error.msg, "|", error.line)
