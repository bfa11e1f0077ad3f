'use strict';
const error = new Error('worker_threads: threads are not available in this build of node');
error.code = 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM';
throw error;
