'use strict';
Object.assign(exports, {
  isDebugBuild: false, hasOpenSSL: true, fipsMode: false, hasIntl: true, hasTracing: false, hasNodeOptions: true,
  hasInspector: false, noBrowserGlobals: false, bits: 64, hasDtrace: false,
});
