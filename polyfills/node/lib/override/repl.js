'use strict';
const error = new Error('repl: not available in this build of node (its own prompt is: start node without arguments)');
error.code = 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM';
throw error;
