// What needs more of a function than its code: direct eval, arguments that are parameters, private names, scopes of functions in blocks.
const log = (...values) => console.log(values.map((value) => typeof value === 'function' ? value.toString() : value));
function parameters(a, b = eval('a + 1'), c = () => eval('b')) {
  arguments[0] = 'changed';
  eval('var d = b * 2');
  return [a, b, c(), d, arguments.length];
}
function mapped(a) {
  arguments[0] = 'changed';
  return [a, eval('arguments.length'), eval('new.target') === undefined];
}
class Base { name() { return 'base'; } }
class Derived extends Base {
  #secret = 1;
  value = eval('this.constructor.name');
  constructor() { eval('super()'); }
  read() { return eval('this.#secret++ + this.#secret'); }
  name() { return eval('super.name()') + (() => eval('super.name()'))(); }
  static { this.made = eval('this.name'); }
}
function scopes() {
  const seen = [];
  for (let i = 0; i < 3; i++) seen.push(() => eval('i'));
  try { throw 'thrown'; } catch (error) { seen.push(() => eval('error')); }
  { function block() { return 'block'; } }
  label: for (const x of [1, 2]) { for (;;) { if (x === 1) continue label; break label; } }
  try { eval('early; let early = 1'); } catch (error) { seen.push(() => error.name); }
  with ({ inside: 'with' }) seen.push(() => eval('inside'));
  return [...seen.map((f) => f()), block()];
}
function* steps(n) { for (let i = 0; i < n; i++) { try { yield eval('i * 2'); } finally { log('step', i); } } }
async function* later() { yield* [await eval('Promise.resolve(1)'), 2]; }
const { a: { length, ...others } = 'abc', [`b${1}`]: renamed = 'default', ...rest } = { c: 3, d: 4 };
log(parameters(1), mapped(1), new Derived().value, new Derived().read(), new Derived().name(), Derived.made);
log(...scopes(), ...steps(2), length, others, renamed, rest, (0, eval)('typeof length'));
log(Object.getOwnPropertyDescriptor(class { get [`x${1}`]() {} }.prototype, 'x1').get.name, (function () { 'use strict'; return this; })());
log(2147483648, -2147483649, 4294967295, 1e21, 0.1, -0, 'ÿ', '\ud800', '\0', 'a\u2028b', { 4294967295: 1, 4294967294: 2 }, 2n ** 64n);
log(/(?<year>\d+)(?<=4)/u.exec('in 2024').groups.year, 'aBc'.replace(/b/gi, (m) => `<${m}>`), `a${1}${`b${2}`}`, new Function('x', 'return x + 1')(1));
(async () => { for await (const x of later()) log('later', x); })();
