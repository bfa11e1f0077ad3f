'use strict';
exports.StreamPipe = class StreamPipe { constructor() { throw new Error('stream pipes are not available'); } };
