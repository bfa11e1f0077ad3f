'use strict';
// internalBinding('builtins'): the embedded library.
exports.builtinIds = native.builtinIds().filter((id) => !id.startsWith('internal/megalith/') && !id.startsWith('npm/'));
exports.compileFunction = (id) => {
  const wrapper = native.compileBuiltin(id);
  if (wrapper === undefined) throw new Error(`No such built-in module: ${id}`);
  return wrapper;
};
exports.natives = Object.create(null);
exports.builtinCategories = { cannotBeRequired: [], canBeRequired: exports.builtinIds };
exports.hasCachedBuiltins = () => true;
exports.config = JSON.stringify({
  target_defaults: { cflags: [], default_configuration: 'Release', defines: [], include_dirs: [], libraries: [] },
  variables: { host_arch: 'x64', target_arch: 'x64', napi_build_version: '9', node_shared: false, v8_enable_i18n_support: 0,
               node_no_browser_globals: false,
               // Debian's places for modules, and then Node's own.
               node_relative_path: 'lib/x86_64-linux-gnu/nodejs:share/nodejs:lib/node',
               node_builtin_modules_path: '' },
});
exports.setInternalLoaders = (internalBinding, require) => { exports.loaders = { internalBinding, require }; };
