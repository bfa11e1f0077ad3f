'use strict';
// internalBinding('options'): the command line's options, with the values of this run.
const data = load('data/options');
exports.envSettings = { kAllowedInEnvvar: 0, kDisallowedInEnvvar: 1 };
exports.types = { kNoOp: 0, kV8Option: 1, kBoolean: 2, kInteger: 3, kUInteger: 4, kString: 5, kHostPort: 6, kStringList: 7 };
exports.defaults = new Map(data.options.map(([name, value, envVarSettings, type, defaultIsTrue]) =>
  [name, { value, helpText: '', envVarSettings, type, defaultIsTrue }]));
exports.values = new Map();      // name -> value that differs from the default
exports.aliases = new Map(data.aliases);
// Whether nothing is set but what chooses the main program.
exports.isPlain = () => {
  for (const name of exports.values.keys()) if (name !== '--eval' && name !== '--print') return false;
  return true;
};
const options = new Map(exports.defaults);
exports.getCLIOptions = () => {
  for (const [name, value] of exports.values) options.set(name, { ...options.get(name), value });
  return { options, aliases: exports.aliases };
};
exports.getEmbedderOptions = () => ({ shouldNotRegisterESMLoader: false, noGlobalSearchPaths: false, hasEmbedderPreload: false, noBrowserGlobals: false });
exports.noGlobalSearchPaths = false;
exports.shouldNotRegisterESMLoader = false;
