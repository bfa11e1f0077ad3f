'use strict';
// The names that programs take from the module when they load; sessions and servers are not there.
const { constants } = internalBinding('http2');
const unavailable = (what) => {
  const error = new Error(`${what}: not available in this build of node`);
  error.code = 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM';
  throw error;
};
class Http2ServerRequest { constructor() { unavailable('http2.Http2ServerRequest'); } }
class Http2ServerResponse { constructor() { unavailable('http2.Http2ServerResponse'); } }
module.exports = {
  connect() { unavailable('http2.connect'); },
  constants,
  createServer() { unavailable('http2.createServer'); },
  createSecureServer() { unavailable('http2.createSecureServer'); },
  getDefaultSettings() {
    return {
      __proto__: null, headerTableSize: constants.DEFAULT_SETTINGS_HEADER_TABLE_SIZE, enablePush: true,
      initialWindowSize: constants.DEFAULT_SETTINGS_INITIAL_WINDOW_SIZE, maxFrameSize: constants.DEFAULT_SETTINGS_MAX_FRAME_SIZE,
      maxConcurrentStreams: constants.DEFAULT_SETTINGS_MAX_CONCURRENT_STREAMS,
      maxHeaderSize: constants.DEFAULT_SETTINGS_MAX_HEADER_LIST_SIZE,
      maxHeaderListSize: constants.DEFAULT_SETTINGS_MAX_HEADER_LIST_SIZE, enableConnectProtocol: false,
    };
  },
  getPackedSettings() { unavailable('http2.getPackedSettings'); },
  getUnpackedSettings() { unavailable('http2.getUnpackedSettings'); },
  sensitiveHeaders: Symbol('nodejs.http2.sensitiveHeaders'),
  Http2ServerRequest,
  Http2ServerResponse,
};
