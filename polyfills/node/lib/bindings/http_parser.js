'use strict';
// internalBinding('http_parser'): http-parser-js in the place of llhttp.
const { AsyncWrap } = load('bindings/async_wrap');
const { HTTPParser: Base } = load('npm').require('http-parser-js');
void Base.kOnExecute;     // tells it that Node is newer than 0.12

exports.methods = Base.methods;
const kinds = { 1: Base.REQUEST, 2: Base.RESPONSE };
const state = { REQUEST_LINE: true, RESPONSE_LINE: true };

class HTTPParser extends Base {
  constructor() {
    super();
    this._list = undefined;
  }
  initialize(type, resource, maxHeaderSize, lenient, list) {
    super.initialize(kinds[type] ?? type, resource);
    if (typeof maxHeaderSize === 'number' && maxHeaderSize > 0) this.maxHeaderSize = maxHeaderSize;
    this.kind = type;
    this.began = 0;
    if (list !== undefined && list !== null) { this._list = list; list.add(this); }
  }
  // Between messages the base class starts itself anew.
  reinitialize(type) { super.initialize(kinds[type] ?? type); }
  execute(chunk, start, length) {
    if (this.began === 0) this.began = native.now();
    const result = super.execute(chunk, start, length);
    return result instanceof Error ? this.describe(result) : result;
  }
  finish() {
    const result = super.finish();
    return result instanceof Error ? this.describe(result) : result;
  }
  describe(error) {
    const overflow = error.message === 'max header size exceeded';
    error.code = overflow ? 'HPE_HEADER_OVERFLOW' : error.message === 'invalid state for EOF' ? 'HPE_INVALID_EOF_STATE' :
      /method/i.test(error.message) ? 'HPE_INVALID_METHOD' : 'HPE_INVALID_CONSTANT';
    error.reason = overflow ? 'Header overflow' : error.message;
    error.message = `Parse Error: ${error.reason}`;
    error.bytesParsed = 0;
    return error;
  }
  nextRequest() { this.began = 0; super.nextRequest(); }
  // The base class gives the chunk with offset and length, as Node did before version 16; now it is the part itself.
  #body(length) {
    const part = this.chunk.subarray(this.offset, this.offset + length);
    this.userCall()(this[3](part));
    this.offset += length;
    if (this.body_bytes !== null) this.body_bytes -= length;
  }
  BODY_CHUNK() {
    this.#body(Math.min(this.end - this.offset, this.body_bytes));
    if (!this.body_bytes) this.state = 'BODY_CHUNKEMPTYLINE';
  }
  BODY_RAW() { this.#body(this.end - this.offset); }
  BODY_SIZED() {
    this.#body(Math.min(this.end - this.offset, this.body_bytes));
    if (!this.body_bytes) this.nextRequest();
  }
  idle() { return state[this.state] === true && this.line === ''; }
  remove() { this._list?.delete(this); this._list = undefined; }
  free() { this.remove(); }
  close() { this.remove(); }
  duration() { return this.began === 0 ? 0 : native.now() - this.began; }
  headersCompleted() { return !(this.state in { REQUEST_LINE: 1, RESPONSE_LINE: 1, HEADER: 1 }); }
  getAsyncId() { return 0; }
}
Object.assign(HTTPParser, {
  REQUEST: 1, RESPONSE: 2, kOnMessageBegin: 0, kOnHeaders: 1, kOnHeadersComplete: 2, kOnBody: 3, kOnMessageComplete: 4,
  kOnTimeout: 6, kLenientNone: 0, kLenientHeaders: 1, kLenientChunkedLength: 2, kLenientKeepAlive: 4, kLenientAll: 7,
});
Object.defineProperty(HTTPParser, 'kOnExecute', { value: 5, configurable: true });
exports.HTTPParser = HTTPParser;

exports.ConnectionsList = class ConnectionsList {
  #parsers = new Set();
  add(parser) { this.#parsers.add(parser); }
  delete(parser) { this.#parsers.delete(parser); }
  all() { return [...this.#parsers]; }
  idle() { return this.all().filter((p) => p.idle()); }
  active() { return this.all().filter((p) => !p.idle()); }
  expired(headersTimeout, requestTimeout) {
    return this.active().filter((p) => {
      const age = p.duration();
      return age > 0 && ((headersTimeout > 0 && !p.headersCompleted() && age > headersTimeout) ||
                         (requestTimeout > 0 && age > requestTimeout && !p.headersCompleted()));
    });
  }
};
