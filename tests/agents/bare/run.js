#!/usr/bin/env node
// A script and modules that no package.json says anything of.
console.log(require('y'), require('./node_modules/y.js') === require('y'));
import('./größe 1%25.mjs').then(({ default: url }) => console.log(url));
