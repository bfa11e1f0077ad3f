'use strict';
// The `process` object before Node's bootstrap gets it, and what depends on the run: arguments, environment, ids.

const { privateSymbols } = load('symbols');

// process.env: every access goes to the real environment.
const env = new Proxy({}, {
  get(target, name) {
    if (typeof name === 'symbol') return target[name];
    const value = native.getenv(name);
    return value === undefined ? Object.prototype[name] : value;
  },
  set(target, name, value) {
    if (typeof name === 'symbol' || typeof value === 'symbol')
      throw new TypeError('Cannot convert a Symbol value to a string');
    native.setenv(name, `${value}`);
    return true;
  },
  has(target, name) { return typeof name === 'string' && native.getenv(name) !== undefined; },
  deleteProperty(target, name) {
    if (typeof name === 'string') native.unsetenv(name);
    return true;
  },
  ownKeys() { return [...new Set(native.envNames())]; },
  getOwnPropertyDescriptor(target, name) {
    const value = typeof name === 'string' ? native.getenv(name) : undefined;
    return value === undefined ? undefined : { value, writable: true, enumerable: true, configurable: true };
  },
  defineProperty(target, name, descriptor) {
    if ('value' in descriptor) native.setenv(name, `${descriptor.value}`);
    return true;
  },
});

const own = (name, value, extra) =>
  Object.defineProperty(process, name, { value, enumerable: true, configurable: false, writable: false, ...extra });

exports.VERSION = 'v18.20.4';

exports.setup = () => {
  process[privateSymbols.exiting_aliased_Uint32Array] = new Uint32Array(1);
  own('version', exports.VERSION);
  own('versions', Object.freeze({
    node: '18.20.4', quickjs: '0.16.2', v8: '10.2.154.26-node.36', uv: '1.44.2', zlib: '1.2.13', modules: '108', openssl: '3.0.15',
  }));
  own('arch', 'x64');
  own('platform', 'linux');
  own('release', { name: 'node', lts: 'Hydrogen',
                   sourceUrl: 'https://nodejs.org/download/release/v18.20.4/node-v18.20.4.tar.gz',
                   headersUrl: 'https://nodejs.org/download/release/v18.20.4/node-v18.20.4-headers.tar.gz' });
  Object.defineProperty(process, 'env', { value: env, enumerable: true, configurable: true, writable: true });
  // Node's title can be set; the kernel's view of the process is left alone.
  let title = 'node';
  exports.setTitle = (value) => { title = value; };
  Object.defineProperty(process, 'title', {
    get: () => title, set: (value) => { title = `${value}`; }, enumerable: true, configurable: true });
  let pid = 0;
  Object.defineProperty(process, 'pid', { get: () => pid ||= native.ids()[0], enumerable: true, configurable: true });
  Object.defineProperty(process, 'ppid', { get: () => native.ids()[1], enumerable: true, configurable: true, set() {} });
  exports.forget = () => { pid = 0; };
  process.debugPort = 9229;
  exports.refresh({ argv: ['node'], execPath: '/usr/bin/node', execArgv: [] });
};

// Takes over what belongs to this run. { argv, execPath, execArgv }
exports.refresh = ({ argv, execPath, execArgv }) => {
  const plain = (name, value) =>
    Object.defineProperty(process, name, { value, enumerable: true, configurable: true, writable: true });
  plain('argv', argv);
  exports.setTitle(argv[0]);
  plain('execPath', execPath);
  plain('execArgv', execArgv);
  exports.forget();
};
