// What the patched engine does by other ways than QuickJS: numbers in JSON, keys of maps, calls of built-in functions.
const bits = (d) => { const v = new DataView(new ArrayBuffer(8)); v.setFloat64(0, d); return v.getBigUint64(0).toString(16); };
const numbers = ['0', '-0', '0.0', '-0.0', '1', '-1', '2147483647', '2147483648', '-2147483648', '-2147483649', '4294967296', '999999999999999',
  '1000000000000000', '9007199254740993', '123456789012345678', '0.1', '0.3', '-0.7', '1e22', '1e23', '1E+22', '123456789012345e22', '123456789012345e-22',
  '1.5e-22', '1.5e-23', '5e-324', '2.2250738585072011e-308', '1.7976931348623157e308', '1e309', '-1e400', '1e-400', '1e00000000005', '0e99999999999',
  '1e99999999999999999999', '1e-99999999999999999999', '0.000000000000001', '0.0000000000000001', '8.41', '0.1e1', '100e-2', '9007199254740.993',
  '3.141592653589793', '3.14159265358979', '1.00000000000000', '0.00000000000000000000001', '4.35', '0.000001', '1e21', '72057594037927945'];
for (const n of numbers) {
  const d = JSON.parse(n);
  console.log(n, bits(d), bits(d) === bits(Number(n)), JSON.stringify(d), JSON.stringify(JSON.parse(`[${n}, {"a": ${n}}]`)));
}
for (const bad of ['01', '-', '+1', '1.', '.5', '1e', '1e+', '0x10', '- 1', '1_0', 'Infinity', 'NaN']) {
  try { console.log(bad, JSON.parse(bad)); } catch (e) { console.log(bad, e.name); }
}
let random = 1;
const next = () => (random = (random * 48271) % 2147483647);
let wrong = 0;
for (let i = 0; i < 20000; i++) {
  const whole = String(next()).slice(0, 1 + next() % 9), part = String(next()).slice(0, next() % 9);
  const text = `${i % 3 ? '' : '-'}${Number(whole)}${part && '.'}${part}${i % 5 ? '' : `e${next() % 50 - 25}`}`;
  if (!Object.is(JSON.parse(text), Number(text))) { wrong++; console.log(text); }
}
console.log('wrong', wrong);

// Keys that are the same, and such as would share a bucket.
const map = new Map();
const keys = [0, -0, 1, 1.5, NaN, '1', 1n, 2n ** 70n, true, false, null, undefined, Symbol.iterator, 'x'.repeat(300), 2 ** 31, -(2 ** 31), 2 ** 53, 1e300, 5e-324, -1];
keys.forEach((k, i) => map.set(k, i));
console.log(map.size, map.get(-0), map.get(0), map.get(NaN), map.get(1.0), map.get('1'), map.get(1n), map.get(2n ** 70n), map.get('x'.repeat(150) + 'x'.repeat(150)), map.get(2147483648), map.has(2));
for (const step of [1, 16, 4096, 65536, 0.5, 2 ** 32, 1e-9]) {
  const set = new Set();
  for (let i = -3000; i < 3000; i++) set.add(i * step);
  let found = 0;
  for (let i = -3000; i < 3000; i++) found += set.has(i * step) - set.has(i * step + step / 2);
  for (let i = -3000; i < 3000; i += 2) set.delete(i * step);
  console.log(step, set.size, found, [...set].slice(0, 3), set.has(step), set.has(0));
}
const objects = Array.from({ length: 3000 }, (_, i) => [i]), ids = new Map(objects.map((o, i) => [o, i])), weak = new WeakMap(objects.map((o, i) => [o, i]));
console.log(objects.every((o, i) => ids.get(o) === i && weak.get(o) === i), ids.get([0]), weak.has([0]));

// Long strings are the same key however they were put together.
const long = 'x'.repeat(9000) + 'y' + 'é€'.repeat(2); long.charCodeAt(0);
const flat = JSON.parse(JSON.stringify(long)), strings = new Set([1, 2, 3, 4, 5, 6, 7, 8, 'x'.repeat(9000) + 'yé' + '€é€', 'z']);
console.log(strings.has(long), strings.has(flat), strings.add(long).add(flat).size, new Map([[flat, 1], [1, 2], [2, 3], [3, 4], [4, 5]]).get('x'.repeat(8500) + 'x'.repeat(500) + 'yé€é€'));

// Built-in functions are called without a frame of the interpreter.
console.log(Math.max(...[3, 9, 4]), [1, 2, 3].map(String), ['1', '2', '3'].map(Number), [5, 1, 4].sort().join`-`, 'abc'.at(), Math.hypot(3, 4), parseInt('12px'), [].concat(1, [2]));
console.log(Reflect.apply(Math.min, null, [2, 1]), Function.prototype.call.call(String.prototype.slice, 'abcdef', 2), Array.prototype.map.call('ab', (c) => c + c), Math.max.bind(null, 5)(3));
const built = (f) => { try { return f(); } catch (e) { return `${e.name}: ${typeof e.stack}`; } };
console.log(built(() => Symbol.prototype.toString.call(1)), built(() => Map()), built(() => new Math.max()), built(() => Promise()), built(() => [].reduce(() => 0)), built(() => null.f()));
let depth = 0;
const dive = () => { depth++; [1].forEach(dive); };
console.log(built(dive), depth > 100);
const replace = (s) => s.replace(/b/g, (m, at) => { if (at > 3) throw new RangeError('at ' + at); return m.toUpperCase(); });
console.log(replace('abab'), built(() => replace('abababab')), [..."añ€𝄞"].map((c) => c.codePointAt()), 'x'.concat(1, null, undefined), Number('0x1f') + +'1e3');
// Long strings that are put together of many.
let text = '';
for (let i = 0; i < 30000; i++) text += i % 7 ? 'ab' : 'é€';
let back = '';
for (let i = text.length - 1; i >= 0; i--) back = text[i] + back;
console.log(text.length, back === text, text.slice(12345, 12360), text.indexOf('é€ab', 50000), [...text].filter((c) => c === '€').length);
