'use strict';
// Contexts of vm: this engine runs in one realm, so a context is refused rather than pretended.
const error = () => {
  const e = new Error('vm contexts are not available: scripts run in the main context only (vm.runInThisContext)');
  e.code = 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM';
  return e;
};
exports.make = () => { throw error(); };
exports.is = () => false;
exports.run = () => { throw error(); };
