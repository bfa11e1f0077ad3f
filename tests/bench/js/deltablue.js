// DeltaBlue, the incremental solver of one-way constraints in a hierarchy of strengths (Freeman-Benson, Maloney and Borning,
// 1990): a long chain of equalities, and many scaled pairs. argument: number of rounds.
'use strict';
const n = Number((globalThis.scriptArgs ?? process.argv.slice(1))[1]);

// Strengths: the smaller, the stronger.
const REQUIRED = 0, PREFERRED = 2, STRONG_DEFAULT = 3, NORMAL = 4, WEAKEST = 6;

class Variable {
  constructor(value) {
    this.value = value;
    this.constraints = [];
    this.by = null;             // the constraint that computes it
    this.mark = 0;
    this.strength = WEAKEST;    // of the weakest constraint upstream that could be revoked
    this.stay = true;
  }
}

class Constraint {
  constructor(strength) {
    this.strength = strength;
  }
  addTo(planner) {
    for (const v of this.variables()) v.constraints.push(this);
    this.unsatisfy();
    planner.add(this);
  }
  removeFrom(planner) {
    if (this.satisfied()) planner.remove(this);
    else this.detach();
  }
  detach() {
    for (const v of this.variables()) v.constraints.splice(v.constraints.indexOf(this), 1);
    this.unsatisfy();
  }
  isInput() { return false; }
  // Tries to enforce it; returns the constraint that was overridden, or null.
  satisfy(mark, planner) {
    this.choose(mark);
    if (!this.satisfied()) {
      if (this.strength === REQUIRED) throw new Error('a required constraint cannot be satisfied');
      return null;
    }
    for (const v of this.inputs()) v.mark = mark;
    const out = this.output();
    const overridden = out.by;
    if (overridden !== null) overridden.unsatisfy();
    out.by = this;
    if (!planner.propagate(this, mark)) throw new Error('a cycle of constraints');
    out.mark = mark;
    return overridden;
  }
  known(mark) {
    return this.inputs().every((v) => v.mark === mark || v.stay || v.by === null);
  }
}

class Unary extends Constraint {
  constructor(variable, strength, planner) {
    super(strength);
    this.variable = variable;
    this.enforced = false;
    this.addTo(planner);
  }
  variables() { return [this.variable]; }
  inputs() { return []; }
  output() { return this.variable; }
  satisfied() { return this.enforced; }
  unsatisfy() { this.enforced = false; }
  choose(mark) {
    this.enforced = this.variable.mark !== mark && this.strength < this.variable.strength;
  }
  recalculate() {
    this.variable.strength = this.strength;
    this.variable.stay = !this.isInput();
    if (this.variable.stay) this.execute();
  }
  execute() {}
}
class Stay extends Unary {}
class Edit extends Unary {
  isInput() { return true; }
}

class Binary extends Constraint {
  constructor(first, second, strength, planner, more) {
    super(strength);
    this.first = first;
    this.second = second;
    this.direction = 0;         // 1: computes second, -1: computes first, 0: not satisfied
    Object.assign(this, more);
    this.addTo(planner);
  }
  variables() { return [this.first, this.second]; }
  inputs() { return [this.input()]; }
  input() { return this.direction > 0 ? this.first : this.second; }
  output() { return this.direction > 0 ? this.second : this.first; }
  satisfied() { return this.direction !== 0; }
  unsatisfy() { this.direction = 0; }
  choose(mark) {
    const { first, second, strength } = this;
    if (first.mark === mark) {
      this.direction = second.mark !== mark && strength < second.strength ? 1 : 0;
    } else if (second.mark === mark) {
      this.direction = strength < first.strength ? -1 : 0;
    } else if (first.strength > second.strength) {
      this.direction = strength < first.strength ? -1 : 0;
    } else {
      this.direction = strength < second.strength ? 1 : 0;
    }
  }
  recalculate() {
    const input = this.input(), out = this.output();
    out.strength = Math.max(this.strength, input.strength);
    out.stay = input.stay;
    if (out.stay) this.execute();
  }
}
class Equality extends Binary {
  execute() { this.output().value = this.input().value; }
}
class Scale extends Binary {
  variables() { return [this.first, this.second, this.factor, this.offset]; }
  inputs() { return [this.input(), this.factor, this.offset]; }
  execute() {
    if (this.direction > 0) this.second.value = this.first.value * this.factor.value + this.offset.value;
    else this.first.value = (this.second.value - this.offset.value) / this.factor.value;
  }
  recalculate() {
    const input = this.input(), out = this.output();
    out.strength = Math.max(this.strength, input.strength);
    out.stay = input.stay && this.factor.stay && this.offset.stay;
    if (out.stay) this.execute();
  }
}

class Planner {
  constructor() {
    this.mark = 0;
  }
  add(constraint) {
    const mark = ++this.mark;
    let overridden = constraint.satisfy(mark, this);
    while (overridden !== null) overridden = overridden.satisfy(mark, this);
  }
  remove(constraint) {
    const out = constraint.output();
    constraint.detach();
    const unsatisfied = this.retract(out);
    for (let strength = REQUIRED; strength <= WEAKEST; strength++)
      for (const c of unsatisfied) if (c.strength === strength) this.add(c);
  }
  // Takes back what was computed from `out`; returns the constraints that may now be satisfied.
  retract(out) {
    out.by = null;
    out.strength = WEAKEST;
    out.stay = true;
    const unsatisfied = [], todo = [out];
    while (todo.length > 0) {
      const v = todo.pop();
      for (const c of v.constraints) if (!c.satisfied()) unsatisfied.push(c);
      for (const c of v.constraints) {
        if (c === v.by || !c.satisfied()) continue;
        c.recalculate();
        todo.push(c.output());
      }
    }
    return unsatisfied;
  }
  // Recalculates downstream of a constraint; false when that leads back to it.
  propagate(constraint, mark) {
    const todo = [constraint];
    while (todo.length > 0) {
      const c = todo.pop();
      if (c.output().mark === mark) {
        this.remove(constraint);
        return false;
      }
      c.recalculate();
      this.consumers(c.output(), todo);
    }
    return true;
  }
  consumers(v, into) {
    for (const c of v.constraints) if (c !== v.by && c.satisfied()) into.push(c);
  }
  // The order in which constraints are to be executed when the inputs among `sources` change.
  plan(sources) {
    const mark = ++this.mark, plan = [];
    const todo = sources.filter((c) => c.isInput() && c.satisfied());
    while (todo.length > 0) {
      const c = todo.pop();
      if (c.output().mark === mark || !c.known(mark)) continue;
      plan.push(c);
      c.output().mark = mark;
      this.consumers(c.output(), todo);
    }
    return plan;
  }
  change(variable, value) {
    const edit = new Edit(variable, PREFERRED, this);
    const plan = this.plan([edit]);
    for (let i = 0; i < 10; i++) {
      variable.value = value;
      for (const c of plan) c.execute();
    }
    edit.removeFrom(this);
  }
}

function check(got, wanted) {
  if (got !== wanted) throw new Error(`${got} is not ${wanted}`);
  return got;
}

function chain(length) {
  const planner = new Planner();
  const v = Array.from({ length: length + 1 }, () => new Variable(0));
  for (let i = 0; i < length; i++) new Equality(v[i], v[i + 1], REQUIRED, planner);
  new Stay(v[length], STRONG_DEFAULT, planner);
  const edit = new Edit(v[0], PREFERRED, planner);
  const plan = planner.plan([edit]);
  let sum = 0;
  for (let i = 0; i < 100; i++) {
    v[0].value = i;
    for (const c of plan) c.execute();
    sum += check(v[length].value, i);
  }
  edit.removeFrom(planner);
  return sum;
}

function projection(size) {
  const planner = new Planner();
  const factor = new Variable(10), offset = new Variable(1000), to = [];
  let from, last;
  for (let i = 0; i < size; i++) {
    from = new Variable(i);
    last = new Variable(i);
    to.push(last);
    new Stay(from, NORMAL, planner);
    new Scale(from, last, REQUIRED, planner, { factor, offset });
  }
  planner.change(from, 17);
  let sum = check(last.value, 1170);
  planner.change(last, 1050);
  sum += check(from.value, 5);
  planner.change(factor, 5);
  for (let i = 0; i < size - 1; i++) sum += check(to[i].value, i * 5 + 1000);
  planner.change(offset, 2000);
  for (let i = 0; i < size - 1; i++) sum += check(to[i].value, i * 5 + 2000);
  return sum;
}

let sum = 0;
for (let round = 0; round < n; round++) sum += chain(100) + projection(100);
console.log(sum);
