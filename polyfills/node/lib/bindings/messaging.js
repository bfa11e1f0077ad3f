'use strict';
// internalBinding('messaging'): message ports within this thread. src/node_messaging.cc.
const context = load('per_context').exports;
exports.DOMException = context.DOMException;
Object.defineProperty(exports, 'DOMException', { get: () => context.DOMException, enumerable: true });
exports.JSTransferable = class JSTransferable {};
exports.setDeserializerCreateObjectFunction = (fn) => { exports.createObject = fn; };
exports.MessagePort = class MessagePort { constructor() { throw new TypeError('Illegal constructor'); } };
exports.MessageChannel = class MessageChannel {};
exports.broadcastChannel = exports.drainMessagePort = exports.moveMessagePortToContext = exports.receiveMessageOnPort =
  exports.stopMessagePort = exports.checkMessagePort = () => {};
