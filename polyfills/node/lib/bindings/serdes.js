'use strict';
// internalBinding('serdes'): V8's serialization format is V8's own.
const no = (name) => ({ [name]: class { constructor() { throw new Error(`v8.${name} is not available in this build of node`); } } })[name];
exports.Serializer = no('Serializer');
exports.Deserializer = no('Deserializer');
