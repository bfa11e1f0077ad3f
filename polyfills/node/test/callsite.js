// Call sites for programs that look at their callers, time zones in dates, and modules that load for their names alone.
function sites() {
  const { prepareStackTrace } = Error;
  Error.prepareStackTrace = (error, list) => list;
  const holder = {};
  Error.captureStackTrace(holder, sites);
  const { stack } = holder;
  Error.prepareStackTrace = prepareStackTrace;
  return stack;
}
function named() { return sites()[0]; }
const site = named();
console.log(site.getFunctionName(), site.getFileName() === __filename, site.getLineNumber(), site.isNative(), site.isEval(), site.isConstructor());
console.log(site.isToplevel(), site.isAsync(), site.getEvalOrigin(), site.getScriptNameOrSourceURL() === __filename);
console.log(String(site).startsWith(`named (${__filename}:11:`), typeof new Error('x').stack, Error.prepareStackTrace);
for (const zone of ['UTC', 'Europe/Berlin', 'America/New_York']) {
  process.env.TZ = zone;
  console.log(String(new Date(0)), '|', new Date(1720000000000).toTimeString(), '|', Date.parse(String(new Date(86400000))));
}
console.log(String(new Date(NaN)), new Date(0).toUTCString());
const { constants, sensitiveHeaders, getDefaultSettings } = require('http2');
console.log(constants.HTTP2_HEADER_PATH, constants.NGHTTP2_CANCEL, Object.keys(constants).length, sensitiveHeaders, getDefaultSettings().maxFrameSize);
