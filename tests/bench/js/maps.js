// Map, Set and WeakMap with keys of several types. argument: number of rounds.
'use strict';
const n = Number((globalThis.scriptArgs ?? process.argv.slice(1))[1]);

const objects = Array.from({ length: 1000 }, (_, i) => ({ i }));
const words = Array.from({ length: 3000 }, (_, i) => `word${i * 7919 % 1009}`);
let sum = 0;
for (let round = 0; round < n; round++) {
  const counts = new Map();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  for (const [word, count] of counts) sum += word.length * count;
  const seen = new Set();
  for (let i = 0; i < 5000; i++) seen.add(i * i % 4093);
  for (let i = 0; i < 5000; i++) if (seen.has(i)) sum++;
  for (const i of seen) if (i % 3 === 0) seen.delete(i);
  sum += seen.size;
  const ids = new Map(), weak = new WeakMap();
  objects.forEach((o, i) => { ids.set(o, i); weak.set(o, i * 2); });
  for (const o of objects) sum += ids.get(o) + weak.get(o);
  ids.forEach((i, o) => { if (i % 2 === 0) ids.delete(o); });
  sum += ids.size;
}
console.log(sum);
