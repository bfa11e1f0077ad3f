'use strict';
// What the engine is trained with: the compiler arranges its code after what this program makes it do. A bit of everything that
// programs do; none of it is measured anywhere.

const rounds = 12;
let sink = 0;
const keep = (value) => { sink = (sink + value) | 0; };

// An interpreter of arithmetic: scanning by a regular expression, recursive descent, a tree of classes, and its evaluation.
class Leaf { constructor(value) { this.value = value; } eval() { return this.value; } }
class Name { constructor(name) { this.name = name; } eval(scope) { return scope[this.name] ?? 0; } }
class Pair {
  constructor(op, a, b) { this.op = op; this.a = a; this.b = b; }
  eval(scope) {
    const a = this.a.eval(scope), b = this.b.eval(scope);
    switch (this.op) {
      case '+': return a + b;
      case '-': return a - b;
      case '*': return a * b;
      default: return b === 0 ? 0 : a / b;
    }
  }
}
function parse(text) {
  const tokens = [];
  const scanner = /\s*(?:(\d+(?:\.\d+)?)|([a-z_]\w*)|([-+*/()]))/gy;
  for (let match; (match = scanner.exec(text)) !== null;) tokens.push(match);
  let at = 0;
  const atom = () => {
    const [, number, name, op] = tokens[at++];
    if (number !== undefined) return new Leaf(Number(number));
    if (name !== undefined) return new Name(name);
    if (op !== '(') throw new SyntaxError(op);
    const inner = sum();
    at++;
    return inner;
  };
  const chain = (next, ops) => () => {
    let left = next();
    while (at < tokens.length && ops.includes(tokens[at][3])) left = new Pair(tokens[at++][3], left, next());
    return left;
  };
  const product = chain(atom, '*/'), sum = chain(product, '+-');
  return sum();
}
function expressions() {
  for (let i = 0; i < 150; i++) {
    const tree = parse(`(a + ${i} * b_${i % 3}) / (1 + ${i}.5 - c) * (x - (y + 2) * 3) + ${'z * '.repeat(i % 5)}1`);
    for (let k = 0; k < 20; k++) keep(tree.eval({ a: k, b_0: 1, b_1: 2, c: 3, x: k * k, y: 1, z: 2 }));
  }
  try { parse('1 + ) 2'); } catch (error) { keep(error.message.length); }
}

// Numbers: a sieve, a matrix, a float series, bits, a checksum over typed arrays.
function numbers() {
  const sieve = new Uint8Array(20000);
  for (let i = 2; i < sieve.length; i++) {
    if (sieve[i] !== 0) continue;
    keep(i);
    for (let k = i * 2; k < sieve.length; k += i) sieve[k] = 1;
  }
  const size = 24, a = [], b = [], c = [];
  for (let y = 0; y < size; y++) { a.push([]); b.push([]); for (let x = 0; x < size; x++) { a[y][x] = x + y; b[y][x] = x - y + 0.5; } }
  for (let y = 0; y < size; y++) {
    c[y] = new Array(size).fill(0);
    for (let x = 0; x < size; x++) { let s = 0; for (let k = 0; k < size; k++) s += a[y][k] * b[k][x]; c[y][x] = s; }
  }
  let pi = 0;
  for (let i = 0; i < 15000; i++) pi += (i % 2 === 0 ? 4 : -4) / (2 * i + 1);
  keep(pi * 1e6 + c[3][4]);
  let crc = -1;
  for (const byte of sieve.subarray(0, 4000)) { crc ^= byte + 7; for (let k = 0; k < 8; k++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1; }
  keep(crc);
  keep(Math.floor(Math.sqrt(pi)) + Math.max(1, 2, sink) + Number((123.456).toFixed(2)) + parseInt('ff', 16) + Number(2n ** 80n % 1000007n));
}

// A grid search with a queue, objects as records, closures, destructuring, spread, default parameters.
function paths() {
  const width = 40, wall = (x, y) => x < 0 || y < 0 || x >= width || y >= width || (x * 7 + y * 13) % 5 === 0;
  const queue = [{ x: 1, y: 1, steps: 0 }], seen = new Set(), came = new Map();
  const visit = ({ x, y, steps }, dx, dy = 0) => {
    const key = `${x + dx},${y + dy}`;
    if (wall(x + dx, y + dy) || seen.has(key)) return;
    seen.add(key);
    came.set(key, [x, y]);
    queue.push({ x: x + dx, y: y + dy, steps: steps + 1 });
  };
  for (let node; (node = queue.shift()) !== undefined;) { visit(node, 1); visit(node, -1); visit(node, 0, 1); visit(node, 0, -1); keep(node.steps); }
  for (const [key, [x, ...rest]] of came) keep(key.length + x + rest.length);
  const counter = () => { let n = 0; return { up: (by = 1) => n += by, get value() { return n; } }; };
  const made = Array.from({ length: 50 }, counter);
  for (let i = 0; i < 2000; i++) made[i % 50].up(i);
  keep(made.map((m) => m.value).filter((v) => v % 2 === 0).reduce((sum, v) => sum + v, 0));
}

// Text: a template, words counted, an edit distance, base64, encodings, comparison.
function text() {
  const source = 'It was the best of times, it was the worst of times; it was the age of wisdom \u2013 or not. '.repeat(12);
  const counts = {};
  for (const word of source.toLowerCase().split(/\W+/)) if (word !== '') counts[word] = (counts[word] || 0) + 1;
  const table = Object.entries(counts).sort(([x, n], [y, m]) => m - n || x.localeCompare(y));
  keep(table.map(([word, n]) => `${word.padEnd(10)}|${'#'.repeat(n)}`).join('\n').length);
  const distance = (s, t) => {
    let row = Array.from({ length: t.length + 1 }, (_, i) => i);
    for (let i = 1; i <= s.length; i++) {
      const next = [i];
      for (let j = 1; j <= t.length; j++) next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (s[i - 1] === t[j - 1] ? 0 : 1));
      row = next;
    }
    return row[t.length];
  };
  keep(distance(source.slice(0, 60), source.slice(30, 90)));
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  let out = '';
  for (let i = 0; i + 2 < 600; i += 3) {
    const bits = source.charCodeAt(i) << 16 | source.charCodeAt(i + 1) << 8 | source.charCodeAt(i + 2);
    out += alphabet[bits >> 18 & 63] + alphabet[bits >> 12 & 63] + alphabet[bits >> 6 & 63] + alphabet[bits & 63];
  }
  keep(out.length + encodeURIComponent(source).length + source.replace(/(\w+) of (\w+)/g, '$2 of $1').length + source.replaceAll('times', (m) => m.toUpperCase()).indexOf('TIMES', 99));
  keep([...source].reverse().join('').trimEnd().codePointAt(5) + (source < out ? 1 : 2) + /^(?:a|b)*?c|(?<=best )of(?= times)/u.exec(source).index);
}

// Data: a tree turned to JSON and back, cloned, walked; sorting; properties of many shapes, getters, proxies, symbols.
function data(seed) {
  const tree = (depth) => ({ name: `n${depth}`, size: depth * 1.5, open: depth % 2 === 0, none: null, list: [1, -2, 3e9, 'a"b\u00e9'],
                             children: depth > 0 ? [tree(depth - 1), tree(depth - 1)] : [] });
  const back = JSON.parse(JSON.stringify(tree(6)));
  const walk = (node) => node.children.reduce((n, child) => n + walk(child), node.list.length);
  keep(walk(back) + JSON.stringify(back, null, 2).length);
  let x = seed;
  const items = Array.from({ length: 600 }, () => { x = x * 1664525 + 1013904223 >>> 0; return { key: x % 100, text: x.toString(36) }; });
  keep(items.toSorted((p, q) => p.key - q.key || (p.text < q.text ? -1 : 1))[0].key + items.map((i) => i.text).sort().indexOf(items[7].text) + items.map((i) => i.key).sort((p, q) => q - p)[0]);
  const object = {};
  for (let i = 0; i < 300; i++) object[`k${i % 60}`] = i;
  for (const key in object) if (Object.hasOwn(object, key)) keep(object[key]);
  for (let i = 0; i < 60; i += 2) delete object[`k${i}`];
  const merged = { ...object, extra: 1, ...items[0] };
  keep(Object.keys(merged).length);
  const proxy = new Proxy(merged, { get: (target, name) => target[name] ?? 0 });
  for (let i = 0; i < 100; i++) keep(proxy[`k${i}`]);
}

// Calls: recursion, classes with inheritance and private fields, generators, bound and applied functions, exceptions.
class Shape { #id; static made = 0; constructor(id) { this.#id = id; Shape.made++; } get id() { return this.#id; } area() { return 0; } }
class Box extends Shape { constructor(id, w, h) { super(id); this.w = w; this.h = h; } area() { return this.w * this.h + super.area(); } }
class Disc extends Shape { constructor(id, r) { super(id); this.r = r; } area() { return Math.PI * this.r ** 2; } toString() { return `disc ${this.r}`; } }
function calls() {
  const fib = (n) => n < 2 ? n : fib(n - 1) + fib(n - 2);
  keep(fib(15));
  const queens = (n, row = 0, columns = 0, left = 0, right = 0) => {
    if (row === n) return 1;
    let count = 0;
    for (let free = ~(columns | left | right) & (1 << n) - 1; free !== 0; free &= free - 1) {
      const bit = free & -free;
      count += queens(n, row + 1, columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return count;
  };
  keep(queens(6));
  for (let i = 0; i < 300; i++) { const shape = i % 3 === 0 ? new Disc(i, i) : new Box(i, i, 2); keep(shape.area() + shape.id + `${shape}`.length + (shape instanceof Disc ? 1 : 0)); }
  function* pairs(n) { for (let i = 0; i < n; i++) yield [i, i * i]; }
  for (const [i, square] of pairs(300)) keep(i + square);
  function variadic(...all) { return all.length + arguments.length; }
  const bound = variadic.bind(null, 1, 2);
  for (let i = 0; i < 300; i++) keep(bound(i) + variadic(...[i, i, i]) + variadic.apply(null, [i]) + variadic.call(null, i));
  for (let i = 0; i < 60; i++) try { if (i % 3 === 0) throw new RangeError(`no ${i}`); keep(i); } catch ({ message }) { keep(message.length); } finally { keep(1); }
}

async function later() {
  const wait = async (n) => { await null; return n; };
  for (let i = 0; i < 200; i++) keep(await wait(i));
  keep((await Promise.all(Array.from({ length: 100 }, (_, i) => wait(i)))).length);
}

(async () => {
  for (let round = 0; round < rounds; round++) {
    expressions();
    numbers();
    paths();
    text();
    data(round);
    calls();
    await later();
    new Function('a', `return a + ${round}`)(1);
  }
  console.log(sink);
})();
