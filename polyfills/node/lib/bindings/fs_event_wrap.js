'use strict';
// internalBinding('fs_event_wrap'): fs.watch is not available (fs.watchFile, which polls, is).
const { HandleWrap } = load('bindings/stream_wrap');
exports.FSEvent = class FSEvent extends HandleWrap {
  constructor() { super('FSEVENTWRAP'); }
  get initialized() { return false; }
  start() { return -38; }
};
