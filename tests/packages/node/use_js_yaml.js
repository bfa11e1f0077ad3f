// js-yaml: documents with anchors, tags, all styles of scalars; dumped again; errors with their marks.
const yaml = require('js-yaml');

const text = `base: &base {name: tool, tags: [a, 'b c', "d\\te\\u00e9"]}
derived:
  <<: *base
  name: other
  count: 0x1F
  float: -1.5e3
  none: ~
  date: 2024-02-29
  time: 2024-02-29T12:30:45.5+02:00
  binary: !!binary aGVsbG8=
  set: !!set {x, y}
  omap: !!omap [a: 1, b: 2]
literal: |
  line one
    indented
folded: >-
  words that
  fold

  here
? [complex, key]
: value
inf: [.inf, -.INF, .nan, 0o17, 1_000]
`;
console.log(yaml.load(text));
yaml.loadAll('a: 1\n---\n- x\n...\n---\n"end"', document => console.log(document));
class Point { constructor(x, y) { this.x = x; this.y = y; } }
const point = new yaml.Type('!point', { kind: 'sequence', resolve: data => data.length === 2, construct: ([x, y]) => new Point(x, y), instanceOf: Point, represent: p => [p.x, p.y] });
const schema = yaml.DEFAULT_SCHEMA.extend([point]);
const shared = { s: [1] };
const data = { p: new Point(1, 2), shared: [shared, shared], text: 'two\nlines\n', odd: ['yes', '1', 'null', '', 'a: b', ' x', '#', 'é\u0007'], when: new Date(0), n: [1.5, -0, 1e21, Infinity], long: 'word '.repeat(20).trim() };
const dumped = yaml.dump(data, { schema, lineWidth: 50, sortKeys: true, quotingType: '"' });
console.log(dumped, JSON.stringify(yaml.load(dumped, { schema })) === JSON.stringify(Object.fromEntries(Object.entries(data).sort(([a], [b]) => (a < b ? -1 : 1)))));
console.log(yaml.dump({ a: [1, { b: [] }], c: {} }, { flowLevel: 1, indent: 4 }), yaml.dump([[1, [2]]], { noArrayIndent: true }), yaml.dump({ u: undefined, f: 1 }, { skipInvalid: true }));
for (const bad of ['a: b: c', '[1, 2', 'a: *missing', '\tx: 1', '!none x', "key: 'open", 'a: 1\na: 2', 'a: 1\n b: 2']) {
  try {
    yaml.load(bad, { filename: 'f.yml' });
  } catch (error) {
    console.log(error.name, error.reason, error.mark.line, error.mark.column);
  }
}
