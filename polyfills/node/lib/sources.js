'use strict';
// What was loaded as code: its text for error messages, and who to ask when it calls import().
const { privateSymbols: { host_defined_option_symbol: hostOption } } = load('symbols');
const texts = new Map();       // name -> source of what is no file: [eval], [stdin], scripts of vm
const referrers = new Map();   // name -> symbol that Node's loader knows it by

exports.remember = (name, text) => {
  if (!name.startsWith('/') && !name.startsWith('file:')) texts.set(name, text);
};
exports.setReferrer = (name, object, symbol = Symbol(name)) => {
  object[hostOption] = symbol;
  referrers.set(name, symbol);
};
exports.referrer = (name) => referrers.get(name);

// A line of a source by number from 1, undefined when it is not known.
exports.lineOf = (name, number) => {
  let text = texts.get(name);
  if (text === undefined) {
    const path = name.startsWith('file://') ? decodeURIComponent(name.slice(7)) : name;
    const fd = native.open(path, 0, 0);
    if (fd < 0) return undefined;
    text = native.readText(fd);
    native.close(fd);
    if (typeof text !== 'string') return undefined;
  }
  return text.split('\n')[number - 1];
};
