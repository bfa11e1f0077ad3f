"""JMESPath: queries over nested JSON data."""
import jmespath
from jmespath import functions

DATA = {
    "machines": [
        {"name": "a", "cpu": 4, "tags": ["x", "y"], "disk": {"size": 100}}, {"name": "b", "cpu": 16, "tags": [], "disk": {"size": 50}},
        {"name": "c", "cpu": 8, "tags": ["y"], "disk": None},
    ],
    "limits": {"max cpu": 12, "regions": [["n", 1], ["s", 2]]},
}


class Custom(functions.Functions):
    @functions.signature({"types": ["string"]}, {"types": ["number"]})
    def _func_repeat(self, text, count):
        return text * count


for query in (
    "machines[*].name", "machines[?cpu > `4`].{n: name, d: disk.size}", "sort_by(machines, &cpu)[-1].name", 'limits."max cpu"',
    "machines[].tags[] | sort(@)", "limits.regions[*][1] | sum(@)", "machines[1:].cpu", "length(machines[?contains(tags, 'y')])",
    "max_by(machines, &cpu).name", "join('-', machines[*].name)", "machines[?disk == null].name | [0]", "keys(limits) | sort(@)", "nothing.here",
    "machines[::-1].cpu", "map(&to_string(cpu), machines)", "merge(limits, {a: `1`}) | keys(@) | length(@)",
):
    print(query, "=>", jmespath.search(query, DATA))
print(jmespath.search("repeat(machines[0].name, `3`)", DATA, jmespath.Options(custom_functions=Custom())))
print(jmespath.compile("a.b[?c]").parsed["type"])
for bad in ("a[", "length(`1`)", "foo(@)", "a..b"):
    try:
        jmespath.search(bad, DATA)
    except jmespath.exceptions.JMESPathError as error:
        print(type(error).__name__, str(error).splitlines()[0])
