// JSON text to objects and back, of a few shapes. argument: number of rounds.
'use strict';
const n = Number((globalThis.scriptArgs ?? process.argv.slice(1))[1]);

const document = {
  people: Array.from({ length: 300 }, (_, i) => ({
    id: i, name: `person ${i}`, 'e-mail': `p${i}@example.org`, active: i % 3 === 0, score: i * 1.25, parent: i > 0 ? i - 1 : null,
    tags: [`t${i % 7}`, `t${i % 11}`], address: { street: `${i} Road "${i % 5}"`, note: 'zeile\n\tzwei \u00e4\u00f6\u4e2d' },
  })),
  matrix: Array.from({ length: 40 }, (_, y) => Array.from({ length: 40 }, (_, x) => x * y - 0.5)),
  byName: Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`key${i * 7919 % 1000}`, i])),
};
let text = JSON.stringify(document), length = 0, sum = 0;
for (let round = 0; round < n; round++) {
  const value = JSON.parse(text);
  value.people[round % 300].id++;
  text = JSON.stringify(value);
  length += JSON.stringify(value.people, ['id', 'name'], 1).length;
  JSON.parse(text, (key, item) => { if (typeof item === 'number') sum++; return item; });
}
console.log(text.length, length, sum);
