'use strict';
// What modules in the place of Node's own need of this program.
exports.npm = load('npm');
exports.native = native;
exports.load = load;
