'use strict';
// internalBinding('block_list'): socket addresses and lists of them. src/node_sockaddr.cc.
Object.assign(exports, { AF_INET: 2, AF_INET6: 10, FLOW_LABEL: 0 });
exports.SocketAddress = class SocketAddress {
  constructor(address, port, family, flowlabel = 0) {
    this.value = { address, port, family: family === 10 ? 'ipv6' : 'ipv4', flowlabel };
  }
  detail(target) { return Object.assign(target, this.value); }
  flowlabel() { return this.value.flowlabel; }
};
const number = (text) => {
  if (native.ipKind(text) === 4) return text.split('.').reduce((n, part) => n * 256n + BigInt(part), 0n);
  let [head, tail = ''] = native.canonicalIp(text).split('::');
  const groups = (part) => part.split(':').filter((g) => g !== '').flatMap((g) => {
    if (!g.includes('.')) return [BigInt(`0x${g}`)];
    const n = number(g);
    return [n >> 16n, n & 0xffffn];
  });
  const [a, b] = [groups(head), groups(tail)];
  const all = [...a, ...Array(8 - a.length - b.length).fill(0n), ...b];
  return all.reduce((n, g) => n * 65536n + g, 0n);
};
exports.BlockList = class BlockList {
  rules = [];
  addAddress({ value: { address, family } }) { this.rules.unshift({ text: `Address: ${family === 'ipv6' ? 'IPv6' : 'IPv4'} ${address}`, family, test: (n) => n === number(address) }); }
  addRange({ value: from }, { value: to }) {
    if (number(from.address) > number(to.address)) return false;
    this.rules.unshift({ text: `Range: ${from.family === 'ipv6' ? 'IPv6' : 'IPv4'} ${from.address}-${to.address}`, family: from.family,
                         test: (n) => n >= number(from.address) && n <= number(to.address) });
    return true;
  }
  addSubnet({ value: { address, family } }, prefix) {
    const shift = BigInt((family === 'ipv6' ? 128 : 32) - prefix);
    this.rules.unshift({ text: `Subnet: ${family === 'ipv6' ? 'IPv6' : 'IPv4'} ${address}/${prefix}`, family, test: (n) => n >> shift === number(address) >> shift });
  }
  check({ value: { address, family } }) {
    const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
    return this.rules.some((rule) => (rule.family === family && rule.test(number(address))) ||
      (mapped !== null && rule.family === 'ipv4' && rule.test(number(mapped[1]))));
  }
  getRules() { return this.rules.map((r) => r.text); }
};
