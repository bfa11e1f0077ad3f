'use strict';
// internalBinding('http2'): the constants only; there are no sessions.
exports.constants = load('data/http2').constants;
