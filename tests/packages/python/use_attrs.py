"""attrs: classes with validators, converters, evolution and serialisation."""
import attr
from attrs import Factory, asdict, define, evolve, field, fields, frozen, validators


@define(order=True)
class Step:
    name: str = field(validator=validators.matches_re(r"[a-z_]+"), order=False)
    cost: int = field(converter=int, validator=validators.ge(0))
    needs: list[str] = Factory(list)


@frozen
class Plan:
    steps: tuple[Step, ...] = field(converter=tuple, validator=validators.deep_iterable(validators.instance_of(Step)))

    @property
    def total(self):
        return sum(step.cost for step in self.steps)


plan = Plan([Step("fetch", "3"), Step("parse", 2, ["fetch"]), Step("report", "7", ["parse"])])
print(plan)
print(plan.total, sorted(plan.steps)[0].name)
print(asdict(plan, filter=lambda attribute, value: attribute.name != "cost"))
print(evolve(plan.steps[0], cost=11), Step("a", 1) == Step("a", 1), hash(plan.total))
print([f.name for f in fields(Step)], attr.has(Plan))
for make in (lambda: Step("Bad Name", 1), lambda: Step("x", -1), lambda: Plan(["x"]), lambda: Step("x", "y")):
    try:
        make()
    except (ValueError, TypeError) as error:
        print(type(error).__name__, str(error.args[0])[:60])
try:
    plan.steps = ()
except attr.exceptions.FrozenInstanceError as error:
    print("frozen:", error.msg)
