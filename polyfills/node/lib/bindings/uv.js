'use strict';
// internalBinding('uv'): error numbers and their names.
const { errors } = load('data/errors');
const map = new Map();
for (const [number, name, message] of errors) {
  exports[`UV_${name}`] = number;
  map.set(number, [name, message]);
}
exports.getErrorMap = () => map;
exports.errname = (number) => map.get(number)?.[0] ?? `Unknown system error ${number}`;
