// Sorting numbers, strings and objects, with and without a comparison. argument: number of rounds.
'use strict';
const n = Number((globalThis.scriptArgs ?? process.argv.slice(1))[1]);

let seed = 12345;
const next = () => seed = (seed * 1103515245 + 12345) % 2147483648;
const numbers = Array.from({ length: 4000 }, next);
const doubles = Float64Array.from(numbers, (x) => x / 7 - 1e6);
const names = numbers.slice(0, 1500).map((x) => `name ${x % 5003}`);
const records = numbers.map((x, i) => ({ key: x % 97, name: names[i % names.length], i }));
let sum = 0;
for (let round = 0; round < n; round++) {
  const byNumber = numbers.slice().sort((a, b) => a - b);
  const byText = names.slice().sort();
  const byKeys = records.slice().sort((a, b) => a.key - b.key || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const typed = doubles.slice().sort();
  sum = (sum + byNumber[round % 4000] + byText[round % 1500].length + byKeys[round % 4000].i + Math.trunc(typed[9])) % 1000000007;
}
console.log(sum);
