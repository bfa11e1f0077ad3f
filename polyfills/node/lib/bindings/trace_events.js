'use strict';
Object.assign(exports, {
  available: false, isTraceCategoryEnabled: () => false, trace() {}, setTraceCategoryStateUpdateHandler() {}, setLog() {},
  getCategoryEnabledBuffer: () => new Uint8Array(1), getEnabledCategories: () => undefined, CategorySet: class {},
});
