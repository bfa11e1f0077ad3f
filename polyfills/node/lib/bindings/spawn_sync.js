'use strict';
// internalBinding('spawn_sync'): runs a child to its end. src/spawn_sync.cc.
const { constants: { os: { signals: numbers } } } = load('data/constants');
const names = Object.fromEntries(Object.entries(numbers).map(([name, number]) => [number, name]));
const [ETIMEDOUT, ENOBUFS, EAGAIN] = [-110, -105, -11];

exports.spawn = (options) => {
  const { Buffer } = load('bindings/builtins').loaders.require('buffer');
  const fds = [], pipes = [], closeAfter = [];
  for (const item of options.stdio) {
    if (item.type === 'pipe') {
      const [ours, theirs] = native.pipe(true);
      native.setNonblocking(ours, true);
      fds.push(theirs);
      closeAfter.push(theirs);
      pipes.push({ fd: ours, chunks: [], length: 0, input: item.input, sent: 0, writable: item.readable, readable: item.writable });
    } else {
      fds.push(item.type === 'inherit' || item.type === 'fd' ? item.fd : -1);
      pipes.push(null);
    }
  }
  const pid = native.spawn(options.file, options.args, options.envPairs, options.cwd, fds, options.detached === true, options.uid, options.gid);
  for (const fd of closeAfter) native.close(fd);
  const closeAll = () => { for (const p of pipes) if (p !== null && p.fd >= 0) { native.close(p.fd); p.fd = -1; } };
  if (pid < 0) {
    closeAll();
    return { pid: 0, error: pid, status: null, signal: null, output: null };
  }
  let error, end;
  const deadline = options.timeout > 0 ? native.now() + options.timeout : Infinity;
  const kill = (reason) => {
    if (error !== undefined) return;
    error = reason;
    native.kill(pid, options.killSignal || 15);
  };
  const limit = options.maxBuffer > 0 ? options.maxBuffer : Infinity;
  const chunk = new Uint8Array(65536);
  for (const p of pipes)
    if (p !== null && p.input !== undefined && p.input !== null)
      p.input = ArrayBuffer.isView(p.input) ? new Uint8Array(p.input.buffer, p.input.byteOffset, p.input.byteLength) : p.input;
  const wait = load('wait');
  for (;;) {
    const set = [];
    for (const p of pipes) {
      if (p === null || p.fd < 0) continue;
      if (p.writable && p.input !== undefined && p.input !== null && p.sent < p.input.length) {
        set.push(p.fd, 4 | (p.readable ? 1 : 0));
      } else {
        if (p.writable && !p.shut) { p.shut = true; native.shutdown(p.fd); }
        if (p.readable) set.push(p.fd, 1);
        else if (p.writable) { native.close(p.fd); p.fd = -1; }
      }
    }
    if (set.length === 0) break;
    const left = deadline === Infinity ? -1 : Math.max(0, Math.ceil(deadline - native.now()));
    const events = wait.once(set, left);
    if (deadline !== Infinity && native.now() >= deadline) { kill(ETIMEDOUT); if (native.now() > deadline + 50) closeAll(); }
    for (const p of pipes) {
      const ready = p === null || p.fd < 0 ? 0 : events.get(p.fd) ?? 0;
      if (ready & 4) {
        const count = native.write(p.fd, p.input, p.sent, p.input.length - p.sent, -1);
        if (count > 0) p.sent += count;
        else if (count !== EAGAIN) p.sent = p.input.length;
      }
      if (ready & (1 | 8 | 16) && p.readable) {
        const count = native.read(p.fd, chunk, 0, chunk.length, -1);
        if (count > 0) {
          const room = limit - p.length;
          p.chunks.push(chunk.slice(0, Math.min(count, room)));
          p.length += Math.min(count, room);
          if (count > room) kill(ENOBUFS);
        } else if (count !== EAGAIN) {
          native.close(p.fd);
          p.fd = -1;
        }
      } else if (ready & (8 | 16)) {
        native.close(p.fd);
        p.fd = -1;
      }
    }
  }
  while (deadline !== Infinity && error === undefined) {
    end = native.waitPid(pid, false);
    if (end !== 0) break;
    if (native.now() >= deadline) kill(ETIMEDOUT);
    else native.sleep(1);
  }
  if (end === undefined || end === 0) end = native.waitPid(pid, true);
  const [status, signal] = typeof end === 'number' ? [0, 0] : end;
  const output = pipes.map((p) => (p === null || !p.readable ? null : Buffer.concat(p.chunks)));
  const result = { pid, status: signal !== 0 ? null : status, signal: signal !== 0 ? names[signal] : null, output };
  if (error !== undefined) result.error = error;
  return result;
};
