'use strict';
// What the scripts of internal/per_context export: DOMException and the message port's event emitter.
exports.exports = {};
