'use strict';
// internalBinding('module_wrap'): ES modules. src/module_wrap.cc.
const { privateSymbols: { host_defined_option_symbol: hostOption } } = load('symbols');
const sources = load('sources');
Object.assign(exports, { kUninstantiated: 0, kInstantiating: 1, kInstantiated: 2, kEvaluating: 3, kEvaluated: 4, kErrored: 5 });

let initializeMeta = () => {};
exports.setInitializeImportMetaObjectCallback = (callback) => { initializeMeta = callback; };
exports.setImportModuleDynamicallyCallback = (callback) => {
  native.setImportCallback((name, specifier, attributes) => {
    const symbol = sources.referrer(name);
    return callback(symbol ?? load('symbols').symbols.vm_dynamic_import_missing_flag, specifier, Object.assign({ __proto__: null }, attributes));
  });
};

exports.ModuleWrap = class ModuleWrap {
  #module;
  #linked;
  #synthetic = false;
  #meta = false;
  #error;
  #failed = false;

  // new ModuleWrap(url, context, source, lineOffset, columnOffset), or (url, context, exportNames, evaluationSteps)
  constructor(url, context, source, steps) {
    this.url = url;
    if (typeof source === 'string') {
      this.#module = native.moduleCompile(source, url, 1 + (steps | 0));
      sources.remember(url, source);
    } else {
      this.#synthetic = true;
      this.#module = native.moduleSynthetic(url, [...source], () => Reflect.apply(steps, this, []));
    }
    sources.setReferrer(url, this);
  }
  #dependencies = [];
  get module() { return this.#module; }

  // Asks `resolver(specifier, attributes)` for each dependency; gives the promises.
  link(resolver) {
    if (this.#linked) return undefined;
    this.#linked = true;
    const requests = native.moduleRequests(this.#module);
    const promises = [];
    const wraps = [];
    for (const [specifier, attributes] of requests) {
      const promise = resolver(specifier, Object.assign({ __proto__: null }, attributes));
      const index = promises.length;
      promises.push(promise);
      Promise.resolve(promise).then((wrap) => { wraps[index] = wrap; }, () => {});
    }
    this.#dependencies = wraps;
    return promises;
  }
  // Depth first, each module once: dependencies are known by now. The engine links the graph as a whole.
  #connect(seen) {
    if (seen.has(this)) return;
    seen.add(this);
    if (this.#synthetic) { native.moduleLink(this.#module, []); return; }
    if (!this.#meta) {
      this.#meta = true;
      initializeMeta(this[hostOption], native.moduleMeta(this.#module), this);
    }
    native.moduleLink(this.#module, this.#dependencies.map((wrap) => wrap.module));
    for (const wrap of this.#dependencies) wrap.#connect(seen);
  }
  instantiate() {
    this.#connect(new Set());
    native.moduleInstantiate(this.#module);
  }
  evaluate() {
    return native.moduleEvaluate(this.#module);
  }
  getNamespace() { return native.moduleNamespace(this.#module); }
  getStatus() { return native.moduleStatus(this.#module); }
  getError() { return native.moduleError(this.#module); }
  getStaticDependencySpecifiers() { return native.moduleRequests(this.#module).map(([specifier]) => specifier); }
  isGraphAsync() { return false; }
  setExport(name, value) { native.moduleSetExport(this.#module, name, value); }
};
