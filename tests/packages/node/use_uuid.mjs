// uuid: named ones are always the same, given ones are checked and taken apart, random ones differ.
import { MAX, NIL, parse, stringify, v1, v1ToV6, v3, v4, v5, v6, v6ToV1, v7, validate, version } from 'uuid';

console.log(v5('tool.example', v5.DNS), v3('tool.example', v3.DNS), v5('ü', v5('ns', v5.URL)), v3(new Uint8Array([1, 2, 3]), v3.URL));
const fixed = { node: [1, 0x23, 0x45, 0x67, 0x89, 0xab], clockseq: 0x1234, msecs: Date.UTC(2024, 1, 29), nsecs: 5678 };
console.log(v1(fixed), v6(fixed), v1ToV6(v1(fixed)) === v6(fixed), v6ToV1(v6(fixed)) === v1(fixed));
console.log(v4({ random: Uint8Array.from({ length: 16 }, (_, i) => i * 17) }), v7({ random: Uint8Array.from({ length: 16 }, (_, i) => 255 - i), msecs: 1700000000000, seq: 7 }));
const many = Array.from({ length: 2000 }, () => v4());
console.log(new Set(many).size, many.every(u => validate(u) && version(u) === 4), new Set(many.map(u => u[19])).size);
const ordered = Array.from({ length: 500 }, () => v7());
console.log([...ordered].sort().join() === ordered.join(), new Set(ordered).size, v1() !== v1());
console.log([...parse('6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b')], stringify(parse(MAX)) === MAX, version(NIL), version(MAX), Buffer.from(v5('b', v5.DNS, Buffer.alloc(18), 1)).toString('hex'));
for (const text of ['6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b', '6ec0bd7f-11c0-03da-975e-2a8ad9ebae0b', 'x', '', 5]) console.log(text, validate(text));
for (const call of [() => parse('no'), () => v5('x', 'bad'), () => stringify([1, 2])]) {
  try {
    call();
  } catch (error) {
    console.log(error.name, error.message);
  }
}
