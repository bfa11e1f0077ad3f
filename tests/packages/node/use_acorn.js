// acorn: programs to syntax trees, tokens, comments, and errors with their places.
const acorn = require('acorn');

const source = `import def, { a as b } from "m" with { type: "json" };
// comment
export default async function* f({ x = 1, ...rest }, [y]) {
  for await (const v of rest?.items ?? []) yield v ** 2n;
  class C extends D { static #p = /[a-z]+/giu; get z() { return \`t\${this.#q}\`; } static { } #q; }
  label: while (y &&= x--) continue label;
}`;
const comments = [];
const tree = acorn.parse(source, { ecmaVersion: 'latest', sourceType: 'module', locations: true, onComment: comments });
const counts = {};
(function walk(node) {
  counts[node.type] = (counts[node.type] || 0) + 1;
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) if (child && typeof child.type === 'string') walk(child);
  }
})(tree);
console.log(Object.entries(counts).sort().map(([type, n]) => `${type}=${n}`).join(' '));
console.log(comments.map(c => [c.type, c.value, c.loc.start.line]));
console.log([...acorn.tokenizer('a=>b`x${1}`/2', { ecmaVersion: 2022 })].map(t => t.type.label).join(' '));
console.log(acorn.parseExpressionAt('  1 + 2 * x; rest', 2, { ecmaVersion: 5 }).right.operator, tree.body[1].declaration.generator);
for (const bad of ['let a; let a', 'return 1', 'a ? b', '"use strict"; with (a) {}', 'x = `${', 'class { #a; m() { this.#b } }', '/(/']) {
  try {
    acorn.parse(bad, { ecmaVersion: 2022 });
    console.log('parsed', bad);
  } catch (error) {
    console.log(error.name, error.message, error.pos);
  }
}
