'use strict';
// System errors as exceptions, for what Node's C++ side throws itself.
const { errors } = load('data/errors');
exports.throwErrno = (number, syscall, path, dest) => {
  const [, code, message] = errors.find(([n]) => n === number) ?? [number, `Unknown system error ${number}`, ''];
  let text = `${code}: ${message}, ${syscall}`;
  if (path !== undefined) text += ` '${path}'`;
  if (dest !== undefined) text += ` -> '${dest}'`;
  const error = new Error(text);
  error.errno = number;
  error.code = code;
  error.syscall = syscall;
  if (path !== undefined) error.path = path;
  if (dest !== undefined) error.dest = dest;
  throw error;
};
// The lines of a small system file, empty when it cannot be read.
exports.lines = (path) => {
  const fd = native.open(path, 0, 0);
  if (fd < 0) return [];
  const text = native.readText(fd);
  native.close(fd);
  return typeof text === 'string' ? text.split('\n') : [];
};
