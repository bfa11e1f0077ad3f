'use strict';
// internalBinding('cares_wrap'): names. Addresses, localhost and /etc/hosts; no name server is asked.
const loop = load('loop');
const { AsyncWrap, makeCallback } = load('bindings/async_wrap');
const { lines } = load('errno');
Object.assign(exports, { AI_ADDRCONFIG: 32, AI_ALL: 16, AI_V4MAPPED: 8, DNS_ORDER_VERBATIM: 0, DNS_ORDER_IPV4_FIRST: 1 });
for (const name of ['GetAddrInfoReqWrap', 'GetNameInfoReqWrap', 'QueryReqWrap'])
  exports[name] = { [name]: class extends AsyncWrap { constructor() { super(name.toUpperCase()); } } }[name];
const ENOTFOUND = -3008;

function hosts() {
  const entries = [];
  for (const line of lines('/etc/hosts')) {
    const [address, ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (address !== '' && native.ipKind(address) !== 0) entries.push({ address, names });
  }
  return entries;
}
function lookup(name, family) {
  const kind = native.ipKind(name);
  if (kind !== 0) return family === 0 || family === kind ? [name] : [];
  const found = hosts().filter(({ names }) => names.some((n) => n.toLowerCase() === name.toLowerCase())).map(({ address }) => address);
  if (name === 'localhost' || name.endsWith('.localhost')) for (const a of ['127.0.0.1', '::1']) if (!found.includes(a)) found.push(a);
  if (found.length === 0 && name === native.uname()[4]) found.push('127.0.0.1');
  return [...new Set(found)].filter((a) => family === 0 || native.ipKind(a) === family);
}
const later = (req, ...args) => {
  loop.ref();
  loop.defer(() => { loop.unref(); makeCallback(req, req.oncomplete, ...args); });
  return 0;
};
exports.getaddrinfo = (req, name, family, hints, verbatim) => {
  const found = lookup(name, family);
  // IPv4 first, or as the files have it.
  if (!verbatim) found.sort((a, b) => native.ipKind(a) - native.ipKind(b));
  return found.length === 0 ? later(req, ENOTFOUND) : later(req, null, found);
};
exports.getnameinfo = (req, address, port) => {
  const entry = hosts().find((e) => e.address === address);
  const service = lines('/etc/services').find((l) => new RegExp(`\\s${port}/tcp`).test(l))?.split(/\s+/)[0] ?? `${port}`;
  return later(req, null, entry?.names[0] ?? address, service);
};
exports.canonicalizeIP = native.canonicalIp;
exports.strerror = (number) => (number === ENOTFOUND ? 'ENOTFOUND' : `error ${number}`);
exports.ChannelWrap = class ChannelWrap extends AsyncWrap {
  #servers = [];
  constructor() { super('DNSCHANNEL'); }
  getServers() { return this.#servers.length > 0 ? this.#servers :
    lines('/etc/resolv.conf').filter((l) => l.startsWith('nameserver')).map((l) => [l.split(/\s+/)[1], 53]); }
  setServers(servers) { this.#servers = servers.map(([, address, port]) => [address, port]); return 0; }
  setLocalAddress() {}
  cancel() {}
  queryA(req, name) { return this.#answer(req, lookup(name, 4)); }
  queryAaaa(req, name) { return this.#answer(req, lookup(name, 6)); }
  #answer(req, found) { return found.length === 0 ? later(req, 'ENOTFOUND') : later(req, null, found, []); }
};
for (const type of ['Any', 'Cname', 'Mx', 'Ns', 'Txt', 'Srv', 'Ptr', 'Naptr', 'Soa', 'Caa'])
  exports.ChannelWrap.prototype[`query${type}`] = (req) => later(req, 'ENOTFOUND');
exports.ChannelWrap.prototype.getHostByAddr = (req, address) => {
  const names = hosts().filter((e) => e.address === address).flatMap((e) => e.names);
  return names.length === 0 ? later(req, 'ENOTFOUND') : later(req, null, names);
};
