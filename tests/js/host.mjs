// Runs one program of a megabinary in V8: node host.mjs container.wasm SHA256
//
// A deliberately small host. Of the vkernel it has the syscalls write and exit_group; every other one answers ENOSYS.
// Exit status: the guest's; 126 when `_dispatch` refuses the hash; 125 when the guest needs what is not here.

import { readFileSync, writeSync } from "node:fs";

const PAGE = 4096n;
const MAP_L1 = 0x800000;
const UNWIND = -(1n << 63n);
const ENOSYS = -38n;
const EFAULT = -14n;
const STACK_TOP = 0xbfff0000;

const [path, hash] = process.argv.slice(2);
if (!path || !/^[0-9a-f]{64}$/.test(hash ?? "")) {
  console.error("usage: node host.mjs container.wasm SHA256");
  process.exit(2);
}

const module = new WebAssembly.Module(readFileSync(path));
let exports;
let status; // set by exit_group

const bytes = () => new Uint8Array(exports.memory.buffer);
const u64 = (x) => BigInt.asUintN(64, x);
const i64 = (x) => BigInt.asIntN(64, x);

function write(fd, address, length) {
  const start = BigInt.asUintN(32, address);
  const count = u64(length);
  if (start + count > 1n << 32n) return EFAULT;
  return BigInt(writeSync(Number(fd), bytes().subarray(Number(start), Number(start + count))));
}

// Table index of the function that starts at `pc`, by the code map in memory 1.
function functionAt(pc) {
  const map = new DataView(exports.map.buffer);
  const entry = MAP_L1 + Number(pc / PAGE) * 8;
  const lines = map.getUint32(entry, true);
  if (lines === 0) return 0;
  const line = lines + Number((pc % PAGE) / 64n) * 16;
  const starts = map.getBigUint64(line, true);
  const bit = 1n << (pc % 64n);
  if ((starts & bit) === 0n) return 0;
  let before = 0;
  for (let rest = starts & (bit - 1n); rest !== 0n; rest &= rest - 1n) before++;
  return map.getUint32(entry + 4, true) + map.getUint32(line + 8, true) + before;
}

const vkernel = {
  syscall(nr, a0, a1, a2) {
    if (nr === 1n) return write(a0, a1, a2);
    if (nr !== 231n) return ENOSYS;
    status = Number(a0 & 0xffn);
    return UNWIND;
  },
  resolve(pc) {
    if (status !== undefined) return -1n;
    const first = functionAt(BigInt.asUintN(32, pc));
    if (first !== 0) return BigInt(first);
    console.error(`host.mjs: no function starts at 0x${u64(pc).toString(16)}`);
    status = 125;
    return -1n;
  },
  unwound() {},
  // argc 1, argv ["program"], no environment, an empty auxiliary vector.
  start() {
    const name = STACK_TOP - 64;
    bytes().set(new TextEncoder().encode("program\0"), name);
    const words = new BigUint64Array(exports.memory.buffer, STACK_TOP - 256, 6);
    words.set([1n, BigInt(name), 0n, 0n, 0n, 0n]);
    return BigInt(STACK_TOP - 256);
  },
  x87() {
    throw new Error("x87 is not implemented by this host");
  },
  cpuid: () => [0, 0, 0, 0],
  rdtsc: () => process.hrtime.bigint(),
  udiv128(hi, lo, d) {
    const n = (u64(hi) << 64n) | u64(lo);
    return [i64(n / u64(d)), i64(n % u64(d))];
  },
  sdiv128(hi, lo, d) {
    const n = (hi << 64n) | u64(lo);
    return [i64(n / d), i64(n % d)];
  },
  notice() {},
};

const imports = { vkernel };
for (const { module: from, name } of WebAssembly.Module.imports(module)) {
  // WASI: every call answers ENOSYS (52).
  if (from !== "vkernel") (imports[from] ??= {})[name] = () => 52;
}

try {
  exports = new WebAssembly.Instance(module, imports).exports;
  const words = [0, 16, 32, 48].map((i) => i64(BigInt("0x" + hash.slice(i, i + 16))));
  const result = exports._dispatch(...words);
  if (result !== 0) {
    console.error(`_dispatch: ${result}`);
    process.exit(126);
  }
} catch (e) {
  console.error(`host.mjs: ${e.stack}`);
  process.exit(125);
}
process.exit(status ?? 0);
