'use strict';
// internalBinding('os'): src/node_os.cc.
const { lines } = load('errno');
exports.isBigEndian = false;
const fields = (number, ctx, syscall) => {
  ctx.errno = number;
  ctx.syscall = syscall;
  const entry = load('data/errors').errors.find(([n]) => n === number);
  ctx.code = entry?.[1];
  ctx.message = entry?.[2];
};
exports.getOSInformation = (ctx) => {
  const info = native.uname();
  if (typeof info === 'number') { fields(info, ctx, 'uv_os_uname'); return undefined; }
  return info.slice(0, 4);
};
exports.getHostname = () => native.uname()[4];
exports.getHomeDirectory = () => native.getenv('HOME') ?? native.userOf(native.ids()[2])?.[4] ?? '/';
exports.getUserInfo = (options, ctx) => {
  const entry = native.userOf(native.ids()[2]);
  if (entry === undefined) { fields(-2, ctx, 'uv_os_get_passwd'); return undefined; }
  const [username, uid, gid, shell, homedir] = entry;
  const text = (s) => (options?.encoding === 'buffer' ? load('bindings/buffer').createFromString(s, 1) : s);
  return { uid, gid, username: text(username), homedir: text(homedir), shell: shell === '' ? null : text(shell) };
};
exports.getInterfaceAddresses = () => {
  const flat = native.interfaces();
  return typeof flat === 'number' ? [] : flat;
};
exports.getUptime = () => native.systemInfo()[0];
exports.getLoadAvg = (values) => { [, values[0], values[1], values[2]] = native.systemInfo(); };
exports.getTotalMem = () => native.systemInfo()[4];
exports.getFreeMem = () => {
  const line = lines('/proc/meminfo').find((l) => l.startsWith('MemAvailable:'));
  return line === undefined ? native.systemInfo()[5] : Number(line.split(/\s+/)[1]) * 1024;
};
exports.getAvailableParallelism = () => native.systemInfo()[6];
// Flat: model, speed, user, nice, sys, idle, irq for each processor.
exports.getCPUs = () => {
  const models = lines('/proc/cpuinfo');
  const value = (key) => models.filter((l) => l.startsWith(key)).map((l) => l.slice(l.indexOf(':') + 2));
  const names = value('model name'), speeds = value('cpu MHz');
  const stat = lines('/proc/stat').filter((l) => /^cpu\d/.test(l)).map((l) => l.split(/\s+/).slice(1).map((n) => Number(n) * 10));
  const result = [];
  for (let i = 0; i < Math.max(stat.length, native.systemInfo()[6]); i++) {
    const [user = 0, nice = 0, sys = 0, idle = 0, , irq = 0] = stat[i] ?? [];
    result.push(names[i] ?? 'unknown', Math.trunc(Number(speeds[i] ?? 0)), user, nice, sys, idle, irq);
  }
  return result;
};
exports.getPriority = (pid, ctx) => {
  const result = native.getPriority(pid);
  if (result < -999) { fields(result + 1000, ctx, 'uv_os_getpriority'); return undefined; }
  return result;
};
exports.setPriority = (pid, priority, ctx) => {
  const result = native.setPriority(pid, priority);
  if (result < 0) fields(result, ctx, 'uv_os_setpriority');
  return result;
};
