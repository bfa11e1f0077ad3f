'use strict';
// internalBinding('process_wrap'): child processes. src/process_wrap.cc.
const { HandleWrap } = load('bindings/stream_wrap');
const { makeCallback } = load('bindings/async_wrap');
const signals = load('signals');
const { constants: { os: { signals: numbers } } } = load('data/constants');
const names = Object.fromEntries(Object.entries(numbers).map(([name, number]) => [number, name]));

const children = new Map();     // pid -> Process

function reap() {
  for (const [pid, child] of children) {
    const result = native.waitPid(pid, false);
    if (result === 0) continue;
    children.delete(pid);
    child.activate(false);
    const [status, signal] = typeof result === 'number' ? [0, 0] : result;
    makeCallback(child, child.onexit, status, signal === 0 ? '' : names[signal] ?? '');
  }
  if (children.size === 0) signals.unwatch(17, reap);
}

// The stdio of a child: descriptors for native.spawn, and those to be closed once it runs.
exports.stdio = (list) => {
  const fds = [], closeAfter = [];
  for (const item of list) {
    switch (item.type) {
      case 'ignore': fds.push(-1); break;
      case 'inherit': case 'fd': fds.push(item.fd); break;
      case 'wrap': fds.push(item.handle.fd ?? item.wrapType?.fd ?? -1); break;
      case 'pipe': case 'overlapped': {
        const pair = native.pipe(true);
        if (typeof pair === 'number') return { error: pair };
        item.handle.attach(pair[0]);
        fds.push(pair[1]);
        closeAfter.push(pair[1]);
        break;
      }
      default: fds.push(-1);
    }
  }
  return { fds, closeAfter };
};

exports.Process = class Process extends HandleWrap {
  constructor() {
    super('PROCESSWRAP');
    this.pid = 0;
  }
  spawn(options) {
    const { fds, closeAfter, error } = exports.stdio(options.stdio ?? []);
    if (error !== undefined) return error;
    // SIGCHLD must be caught before the child can end.
    signals.watch(17, reap, false);
    const pid = native.spawn(options.file, options.args?.length > 0 ? options.args : [options.file], options.envPairs, options.cwd,
                             fds, options.detached === true, options.uid, options.gid);
    for (const fd of closeAfter) native.close(fd);
    if (pid < 0) {
      if (children.size === 0) signals.unwatch(17, reap);
      return pid;
    }
    this.pid = pid;
    children.set(pid, this);
    this.activate(true);
    return 0;
  }
  kill(signal) {
    if (!children.has(this.pid)) return -3;
    return native.kill(this.pid, signal);
  }
};
