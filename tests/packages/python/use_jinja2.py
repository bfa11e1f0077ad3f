"""Jinja: inheritance, macros, filters, loops, escaping, sandbox and errors."""
from jinja2 import DictLoader, Environment, StrictUndefined, TemplateSyntaxError, UndefinedError, meta
from jinja2.sandbox import SandboxedEnvironment, SecurityError

TEMPLATES = {
    "base": "<title>{% block title %}none{% endblock %}</title>\n{% block body required %}{% endblock %}",
    "macros": "{% macro field(name, value='', type='text') -%}<input name={{ name }} value='{{ value }}' type={{ type }}>{%- endmacro %}",
    "page": """{% extends 'base' %}{% from 'macros' import field %}
{% block title %}{{ super() }}: {{ title|upper }}{% endblock %}
{% block body %}{% for row in rows if row.n % 2 recursive %}{{ loop.index }}/{{ loop.length }} {{ row.name|replace('a', 'A') }}
{%- if row.children is defined %}[{{ loop(row.children) }}]{% endif %}{% if not loop.last %}, {% endif %}{% else %}empty{% endfor %}
{% set total = rows|map(attribute='n')|sum %}{{ '%05.1f'|format(total) }} {{ field('q', '<>&') }}
{% filter indent(2, true) %}{% call(x) wrap() %}<{{ x }}>{% endcall %}{% endfilter %}{% endblock %}
{% macro wrap() %}({{ caller(1) }}{{ caller('a') }}){% endmacro %}""",
}

environment = Environment(loader=DictLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
environment.filters["roman"] = lambda n: "".join(c * (n // v % 5) for v, c in ((10, "X"), (5, "V"))) + "I" * (n % 5)
rows = [{"n": 1, "name": "alpha", "children": [{"n": 3, "name": "beta"}]}, {"n": 2, "name": "x"}, {"n": 5, "name": "gamma<"}]
print(environment.get_template("page").render(title="t & t", rows=rows))
print(environment.from_string("{{ [3, 1, 2]|sort|join('-') }} {{ 7|roman }} {{ {'b': 1, 'a': 2}|dictsort|tojson }} {{ 'a b c'.split()|batch(2)|list }}").render())
print(environment.from_string("{{ items|groupby('k')|map('first')|list }} {{ 'long text here'|truncate(9) }} {{ 3 is odd }}").render(items=[{"k": 2}, {"k": 1}, {"k": 2}]))
print(sorted(meta.find_undeclared_variables(environment.parse("{% set a = b %}{{ a + c }}"))))
for source in ("{{ missing }}", "{% for x in %}", "{{ 1 + }}"):
    try:
        environment.from_string(source).render()
    except (UndefinedError, TemplateSyntaxError) as error:
        print(type(error).__name__, error)
try:
    SandboxedEnvironment().from_string("{{ ().__class__.__mro__[1].__subclasses__() }}").render()
except SecurityError as error:
    print("SecurityError", error)
