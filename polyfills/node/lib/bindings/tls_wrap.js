'use strict';
// internalBinding('tls_wrap'): TLS is not available.
exports.wrap = () => { throw new Error('TLS is not available in this build of node'); };
exports.TLSWrap = class TLSWrap {};
exports.HAVE_SSL_TRACE = false;
