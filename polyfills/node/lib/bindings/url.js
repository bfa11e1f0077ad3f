'use strict';
// internalBinding('url'): the WHATWG parser. The parsed URL goes to lib/internal/url.js as its serialization and the offsets of
// its parts, as ada::url_components has them.
const machine = () => load('npm').require('whatwg-url/lib/url-state-machine');
const OMITTED = 0xffffffff;
const types = { http: 0, https: 2, ws: 3, ftp: 4, wss: 5, file: 6 };
const parts = exports.urlComponents = new Uint32Array(9);

// What most file: URLs look like: nothing to be escaped, no dot segments.
const plainFile = /^file:\/\/\/(?:[A-Za-z0-9_\-~@+=,$!&'()*;\[\]]|\.(?!\.?(?:\/|$))|\/)*$/;

function describe(url) {
  const { serializeHost, serializePath } = machine();
  let href = `${url.scheme}:`;
  parts[0] = href.length;
  parts[1] = parts[2] = parts[3] = href.length;
  parts[4] = OMITTED;
  if (url.host !== null) {
    href += '//';
    parts[1] = parts[2] = href.length;
    if (url.username !== '' || url.password !== '') {
      href += url.username;
      parts[1] = href.length;
      if (url.password !== '') href += `:${url.password}`;
      parts[2] = href.length;
      href += '@';
    }
    href += serializeHost(url.host);
    parts[3] = href.length;
    if (url.port !== null) {
      href += `:${url.port}`;
      parts[4] = url.port;
    }
  } else if (typeof url.path !== 'string' && url.path.length > 1 && url.path[0] === '') {
    href += '/.';
  }
  parts[5] = href.length;
  href += serializePath(url);
  parts[6] = parts[7] = OMITTED;
  if (url.query !== null) {
    parts[6] = href.length;
    href += `?${url.query}`;
  }
  if (url.fragment !== null) {
    parts[7] = href.length;
    href += `#${url.fragment}`;
  }
  parts[8] = types[url.scheme] ?? 1;
  return href;
}

function parseRecord(input, base) {
  const { parseURL } = machine();
  let baseURL = null;
  if (base !== undefined) {
    baseURL = parseURL(native.toUSVString(base));
    if (baseURL === null) return null;
  }
  return parseURL(native.toUSVString(input), { baseURL });
}

exports.parse = (input, base) => {
  if (plainFile.test(input)) {
    parts.set([5, 7, 7, 7, OMITTED, 7, OMITTED, OMITTED, 6]);
    return input;
  }
  const url = parseRecord(input, base);
  return url === null ? false : describe(url);
};
exports.canParse = (input, base) => parseRecord(`${input}`, base) !== null;

const [PROTOCOL, HOST, HOSTNAME, PORT, USERNAME, PASSWORD, PATHNAME, SEARCH, HASH, HREF] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
exports.update = (href, action, value) => {
  const m = machine();
  value = native.toUSVString(value);
  if (action === HREF) return exports.parse(value);
  const url = m.parseURL(href);
  const override = (state, input = value) => m.basicURLParse(input, { url, stateOverride: state });
  switch (action) {
    case PROTOCOL: override('scheme start', `${value}:`); break;
    case USERNAME: if (m.cannotHaveAUsernamePasswordPort(url)) return false; m.setTheUsername(url, value); break;
    case PASSWORD: if (m.cannotHaveAUsernamePasswordPort(url)) return false; m.setThePassword(url, value); break;
    case HOST: if (m.hasAnOpaquePath(url)) return false; override('host'); break;
    case HOSTNAME: if (m.hasAnOpaquePath(url)) return false; override('hostname'); break;
    case PORT:
      if (m.cannotHaveAUsernamePasswordPort(url)) return false;
      if (value === '') url.port = null;
      else override('port');
      break;
    case PATHNAME: if (m.hasAnOpaquePath(url)) return false; url.path = []; override('path start'); break;
    case SEARCH:
      if (value === '') { url.query = null; break; }
      url.query = '';
      override('query', value.startsWith('?') ? value.slice(1) : value);
      break;
    case HASH:
      if (value === '') { url.fragment = null; break; }
      url.fragment = '';
      override('fragment', value.startsWith('#') ? value.slice(1) : value);
      break;
  }
  return describe(url);
};

exports.format = (href, fragment, unicode, search, auth) => {
  const url = machine().parseURL(href);
  if (!fragment) url.fragment = null;
  if (unicode && typeof url.host === 'string') url.host = exports.toUnicode(url.host);
  if (!search) url.query = null;
  if (!auth) url.username = url.password = '';
  return describe(url);
};

// IDNA. Plain ASCII without punycode needs no tables.
const plain = /^(?!.*xn--)[\x00-\x7f]*$/i;
exports.toASCII = (domain) => (plain.test(domain) ? domain.toLowerCase() :
  load('npm').require('tr46').toASCII(domain, { checkBidi: true, checkJoiners: true, useSTD3ASCIIRules: false }) ?? '');
exports.toUnicode = (domain) => (plain.test(domain) ? domain : load('npm').require('tr46').toUnicode(domain, { checkBidi: true, checkJoiners: true }).domain);
exports.domainToASCII = (domain) => {
  const url = machine().parseURL(`ws://${domain}`);
  return url === null ? '' : machine().serializeHost(url.host);
};
exports.domainToUnicode = (domain) => {
  const ascii = exports.domainToASCII(domain);
  return ascii === '' ? '' : exports.toUnicode(ascii);
};
