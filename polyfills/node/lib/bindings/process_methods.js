'use strict';
// internalBinding('process_methods'): src/node_process_methods.cc.
const { throwErrno } = load('errno');
exports.hrtimeBuffer = new ArrayBuffer(24);
const fields = new Uint32Array(exports.hrtimeBuffer);
exports.hrtime = () => native.hrtime(fields);
exports.hrtimeBigInt = () => native.hrtimeBigInt(fields);
exports.uptime = () => (native.now() - exports.started) / 1000;
exports.started = native.now();
exports.cwd = () => {
  const path = native.getcwd();
  if (typeof path === 'number') throwErrno(path, 'uv_cwd');
  return path;
};
exports.chdir = (path) => {
  const result = native.chdir(path);
  if (result < 0) throwErrno(result, 'chdir', exports.cwd(), path);
};
exports.umask = (mask) => native.umask(mask);
exports._kill = (pid, signal) => native.kill(pid, signal);
exports.reallyExit = (code) => native.exit(code === undefined ? 0 : Number(code) & 255);
exports.abort = native.abort;
exports.causeSegfault = native.abort;
exports.dlopen = (module, filename) => {
  const error = new Error(`${filename}: native extensions cannot be loaded by this build of node: use a package that is all JavaScript in its place`);
  error.code = 'ERR_DLOPEN_FAILED';
  throw error;
};
exports._rawDebug = (text) => native.writeText(2, `${text}\n`);
exports._getActiveRequests = () => [];
exports._getActiveHandles = () => [];
exports.getActiveResourcesInfo = () => [];
exports._debugProcess = exports._debugEnd = exports._startProfilerIdleNotifier = exports._stopProfilerIdleNotifier = () => {};
exports.constrainedMemory = () => 0;
exports.memoryUsage = (values) => {
  const [total, used] = native.heapStatistics();
  values[0] = exports.rss();
  values[1] = total;
  values[2] = total;
  values[3] = values[4] = 0;
};
exports.rss = () => {
  const fd = native.open('/proc/self/statm', 0, 0);
  if (fd < 0) return native.resourceUsage()[2] * 1024;
  const text = native.readText(fd);
  native.close(fd);
  return Number(text.split(' ')[1]) * 4096;
};
exports.cpuUsage = (values) => {
  const usage = native.resourceUsage();
  values[0] = usage[0];
  values[1] = usage[1];
};
exports.resourceUsage = (values) => { values.set(native.resourceUsage()); };
exports.patchProcessObject = () => {};
exports.setEmitWarningSync = () => {};
