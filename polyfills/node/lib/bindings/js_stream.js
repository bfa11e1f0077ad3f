'use strict';
const { LibuvStreamWrap } = load('bindings/stream_wrap');
exports.JSStream = class JSStream extends LibuvStreamWrap { constructor() { super('JSSTREAM'); } };
