'use strict';
exports.setImplementation = () => {};
