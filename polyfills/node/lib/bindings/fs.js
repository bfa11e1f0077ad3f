'use strict';
// internalBinding('fs'): src/node_file.cc. Every operation comes in three forms, told apart by the argument after its own:
// an FSReqCallback (called back from the loop), kUsePromises (gives a promise), or undefined and a context object that takes
// the error (done at once).
const loop = load('loop');
const { AsyncWrap, makeCallback } = load('bindings/async_wrap');
const { encode } = load('bindings/buffer');
const { errors } = load('data/errors');
const { constants: { fs: { UV_FS_COPYFILE_EXCL = 1 } } } = load('data/constants');

exports.kUsePromises = Symbol('fs_use_promises_symbol');
exports.kFsStatsFieldsNumber = 18;
exports.statValues = new Float64Array(36);
exports.bigintStatValues = new BigInt64Array(36);

exports.FSReqCallback = class FSReqCallback extends AsyncWrap {
  constructor(bigint) {
    super('FSREQCALLBACK');
    this.bigint = bigint === true;
  }
};
exports.statWatchers = new Map();
exports.StatWatcher = class StatWatcher extends AsyncWrap {
  constructor(bigint) { super('STATWATCHER'); this.bigint = bigint; }
  start(path, interval) {
    const read = () => {
      const fields = this.bigint ? new BigInt64Array(36) : new Float64Array(36);
      const result = native.stat(path, 0, fields);
      return [fields, result < 0 ? result : 0];
    };
    let [previous] = read();
    const { setInterval } = load('bindings/builtins').loaders.require('timers');
    this.timer = setInterval(() => {
      const [current, status] = read();
      let changed = false;
      for (let i = 0; i < 18 && !changed; i++) changed = i !== 10 && i !== 11 && current[i] !== previous[i];
      if (!changed) return;
      const both = this.bigint ? new BigInt64Array(36) : new Float64Array(36);
      both.set(current.subarray(0, 18));
      both.set(previous.subarray(0, 18), 18);
      previous = current;
      this.onchange(status, both);
    }, interval);
    return 0;
  }
  close() { this.timer?.close?.(); load('bindings/builtins').loaders.require('timers').clearInterval(this.timer); }
  ref() { this.timer?.ref(); }
  unref() { this.timer?.unref(); }
};

const isError = (result) => typeof result === 'number' && result < 0;

function uvError(number, syscall, path, dest) {
  const { uvException } = load('bindings/builtins').loaders.require('internal/errors');
  const [, code, message] = errors.find(([n]) => n === number) ?? [];
  return uvException({ errno: number, syscall, path, dest, code, message });
}

// Gives an operation its three forms. `run(...own arguments)` returns the result or a negative errno. `paths` says which of the
// own arguments are paths to be named in an error.
function operation(name, syscall, count, run, paths = [0]) {
  const wrapped = (...args) => {
    const req = args[count];
    const named = (i) => {
      const value = paths[i] === undefined ? undefined : args[paths[i]];
      return value === undefined || typeof value === 'string' ? value :
        ArrayBuffer.isView(value) ? native.utf8Slice.call(value, 0, value.byteLength) : undefined;
    };
    if (req === undefined) {
      const result = run(...args.slice(0, count));
      if (!isError(result)) return result;
      const ctx = args[count + 1];
      if (ctx === undefined) throw uvError(result, syscall, named(0), named(1));
      ctx.errno = result;
      ctx.syscall = syscall;
      ctx.code = errors.find(([n]) => n === result)?.[1];
      if (paths.length > 0) ctx.path = named(0);
      if (paths.length > 1) ctx.dest = named(1);
      return undefined;
    }
    const own = args.slice(0, count);
    if (req === exports.kUsePromises) {
      let settle;
      const promise = new Promise((resolve, reject) => { settle = { resolve, reject }; });
      loop.ref();
      loop.defer(() => {
        loop.unref();
        let result;
        try { result = run(...own); } catch (error) { settle.reject(error); loop.settle(); return; }
        if (isError(result)) settle.reject(uvError(result, syscall, named(0), named(1)));
        else settle.resolve(result);
        loop.settle();
      });
      return promise;
    }
    loop.ref();
    loop.defer(() => {
      loop.unref();
      let result;
      try { result = run(...own); } catch (error) { makeCallback(req, req.oncomplete, error); return; }
      if (isError(result)) makeCallback(req, req.oncomplete, uvError(result, syscall, named(0), named(1)));
      else if (result === undefined || result === 0 && done.has(name)) makeCallback(req, req.oncomplete, null);
      else makeCallback(req, req.oncomplete, null, result);
    });
    return undefined;
  };
  exports[name] = wrapped;
}
// Operations whose 0 is no result.
const done = new Set(['access', 'close', 'rename', 'ftruncate', 'rmdir', 'fdatasync', 'fsync', 'symlink', 'link', 'unlink', 'fchmod',
                      'chmod', 'lchown', 'fchown', 'chown', 'utimes', 'futimes', 'lutimes', 'copyFile']);

const decoded = (value, encoding) => {
  // Names come as bytes when the caller wants an encoding other than UTF-8.
  if (typeof value === 'number' || encoding === undefined || encoding === 'utf8' || encoding === 'utf-8') return value;
  Object.setPrototypeOf(value, load('bindings/buffer').prototype);
  return encoding === 'buffer' ? value : value.toString(encoding);
};
const raw = (encoding) => encoding !== undefined && encoding !== null && encoding !== 'utf8' && encoding !== 'utf-8';

operation('access', 'access', 2, (path, mode) => native.access(path, mode));
operation('open', 'open', 3, (path, flags, mode) => native.open(path, flags, mode));
operation('close', 'close', 1, (fd) => native.close(fd), []);
operation('rename', 'rename', 2, (from, to) => native.rename(from, to), [0, 1]);
operation('link', 'link', 2, (from, to) => native.link(from, to), [0, 1]);
operation('symlink', 'symlink', 3, (target, path) => native.symlink(target, path), [0, 1]);
operation('unlink', 'unlink', 1, (path) => native.unlink(path));
operation('rmdir', 'rmdir', 1, (path) => native.rmdir(path));
operation('chmod', 'chmod', 2, (path, mode) => native.chmod(path, mode));
operation('fchmod', 'fchmod', 2, (fd, mode) => native.fchmod(fd, mode), []);
operation('chown', 'chown', 3, (path, uid, gid) => native.chown(path, uid, gid));
operation('fchown', 'fchown', 3, (fd, uid, gid) => native.fchown(fd, uid, gid), []);
operation('lchown', 'lchown', 3, (path, uid, gid) => native.lchown(path, uid, gid));
operation('ftruncate', 'ftruncate', 2, (fd, length) => native.ftruncate(fd, length), []);
operation('fsync', 'fsync', 1, (fd) => native.fsync(fd), []);
operation('fdatasync', 'fdatasync', 1, (fd) => native.fdatasync(fd), []);
operation('utimes', 'utime', 3, (path, atime, mtime) => native.utimes(path, 0, atime, mtime));
operation('lutimes', 'lutime', 3, (path, atime, mtime) => native.utimes(path, 1, atime, mtime));
operation('futimes', 'futime', 3, (fd, atime, mtime) => native.utimes(fd, 2, atime, mtime), []);
operation('copyFile', 'copyfile', 3, (from, to, mode) => native.copyFile(from, to, (mode & UV_FS_COPYFILE_EXCL) !== 0), [0, 1]);
operation('readlink', 'readlink', 2, (path, encoding) => decoded(native.readlink(path, raw(encoding)), encoding));
operation('realpath', 'realpath', 2, (path, encoding) => decoded(native.realpath(path, raw(encoding)), encoding));
operation('mkdtemp', 'mkdtemp', 2, (prefix, encoding) => decoded(native.mkdtemp(prefix, raw(encoding)), encoding));
{
  const { mkdtemp } = exports;
  exports.mkdtemp = (prefix, ...rest) => mkdtemp(typeof prefix === 'string' ? prefix.replace(/XXXXXX$/, '') : prefix, ...rest);
}

// With file types: [names, types].
operation('readdir', 'scandir', 3, (path, encoding, withTypes) => {
  const result = native.readdir(path, raw(encoding));
  if (typeof result === 'number') return result;
  const order = result[0].map((name, i) => i);
  const key = raw(encoding) ? result[0].map((name) => native.latin1Slice.call(name, 0, name.length)) : result[0];
  order.sort((a, b) => (key[a] < key[b] ? -1 : 1));
  const names = order.map((i) => decoded(result[0][i], encoding));
  return withTypes ? [names, order.map((i) => result[1][i])] : names;
});

// The first directory made is the result of a recursive mkdir.
operation('mkdir', 'mkdir', 3, (path, mode, recursive) => {
  if (!recursive) return done0(native.mkdir(path, mode));
  const { dirname } = load('bindings/builtins').loaders.require('path');
  const text = typeof path === 'string' ? path : native.utf8Slice.call(path, 0, path.length);
  const missing = [];
  for (let p = text.replace(/(?<=[^/])\/+$/, ''); ; p = dirname(p)) {
    const result = native.mkdir(p, mode);
    if (result === 0) { missing.push(p); break; }
    if (result === -17) {                 // EEXIST
      const kind = native.fileKind(p);
      if (kind !== 1) return missing.length > 0 ? -20 : -17;
      break;
    }
    if (result !== -2) return result;     // ENOENT
    missing.push(p);
    if (p === dirname(p)) return result;
  }
  const first = missing.at(-1);
  for (const p of missing.reverse()) {
    const result = p === first ? 0 : native.mkdir(p, mode);
    if (result < 0 && result !== -17) return result;
  }
  if (first !== undefined && native.fileKind(first) < 0) {
    const result = native.mkdir(first, mode);
    if (result < 0) return result;
  }
  return first;
});
const done0 = (result) => (result === 0 ? undefined : result);

function statInto(target, kind) {
  return (path, bigint) => {
    const fields = bigint ? target.big() : target.plain();
    const result = native.stat(path, kind, fields);
    return result < 0 ? result : fields;
  };
}
const shared = { big: () => exports.bigintStatValues, plain: () => exports.statValues };
const fresh = { big: () => new BigInt64Array(36), plain: () => new Float64Array(36) };
for (const [name, kind, paths] of [['stat', 0, [0]], ['lstat', 1, [0]], ['fstat', 2, []]]) {
  operation(name, name, 2, statInto(fresh, kind), paths);
  const asynchronous = exports[name];
  operation(name, name, 2, statInto(shared, kind), paths);
  const synchronous = exports[name];
  // fstat is called with a descriptor, and the option may be missing.
  exports[name] = (path, bigint, req, ctx) => (req === undefined ? synchronous : asynchronous)(path, bigint === true, req, ctx);
}
operation('statfs', 'statfs', 2, (path, bigint) => {
  const fields = bigint ? new BigInt64Array(7) : new Float64Array(7);
  const result = native.statfs(path, fields);
  return result < 0 ? result : fields;
});

operation('read', 'read', 5, (fd, buffer, offset, length, position) => native.read(fd, buffer, offset, length, position), []);
operation('writeBuffer', 'write', 5, (fd, buffer, offset, length, position) => native.write(fd, buffer, offset, length, position), []);
operation('readBuffers', 'read', 3, (fd, buffers, position) => {
  let total = 0;
  for (const buffer of buffers) {
    const result = native.read(fd, buffer, 0, buffer.byteLength, typeof position === 'number' ? position + total : position);
    if (result < 0) return total > 0 ? total : result;
    total += result;
    if (result < buffer.byteLength) break;
  }
  return total;
}, []);
operation('writeBuffers', 'write', 3, (fd, buffers, position) => {
  let total = 0;
  for (const buffer of buffers) {
    const result = native.write(fd, buffer, 0, buffer.byteLength, typeof position === 'number' ? position + total : position);
    if (result < 0) return total > 0 ? total : result;
    total += result;
    if (result < buffer.byteLength) break;
  }
  return total;
}, []);
operation('writeString', 'write', 4, (fd, text, position, encoding) => {
  const bytes = encode(text, encoding);
  return native.write(fd, bytes, 0, bytes.length, position);
}, []);

// ---- fs/promises

exports.FileHandle = class FileHandle extends AsyncWrap {
  constructor(fd) {
    super('FILEHANDLE');
    this.fd = fd;
  }
  close() {
    const fd = this.fd;
    this.fd = -1;
    return exports.close(fd, exports.kUsePromises);
  }
  releaseFD() {
    const fd = this.fd;
    this.fd = -1;
    return fd;
  }
};
operation('openFileHandle', 'open', 3, (path, flags, mode) => {
  const fd = native.open(path, flags, mode);
  return fd < 0 ? fd : new exports.FileHandle(fd);
});

// ---- What the module loaders ask

exports.internalModuleStat = (path) => native.fileKind(path);

// [text, whether it has one of the keys that matter], or [] when there is no such file.
exports.internalModuleReadJSON = (path) => {
  const fd = native.open(path, 0, 0);
  if (fd < 0) return [];
  let text = native.readText(fd);
  native.close(fd);
  if (typeof text !== 'string') return [];
  if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
  return [text, /"(?:exports|imports|main|name|type)"/.test(text)];
};

// Text of a file that is to run as code. The policy may refuse it.
exports.readCode = (path) => load('code').read(path);
// Called by Module._load with what a request resolved to: see lib/warm.js.
exports.adoptWarm = load('warm').adopt;
// Whether what was learnt of a path is still true: see lib/warm.js.
exports.isFresh = load('warm').isFresh;
exports.forgetAtSnapshot = load('warm').forgetAtSnapshot;
exports.realPath = load('warm').realPath;
// For path.js.
exports.normalizePath = native.normalizePath;
exports.legacyMainResolve = undefined;
exports.getFormatOfExtensionlessFile = () => 0;
