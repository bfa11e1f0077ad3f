'use strict';
// Every process is a primary one, which net and dgram ask; there are no workers.
const EventEmitter = require('events');
const cluster = module.exports = new EventEmitter();
Object.assign(cluster, { isWorker: false, isMaster: true, isPrimary: true, workers: {}, settings: {}, SCHED_NONE: 1, SCHED_RR: 2,
                         schedulingPolicy: 2 });
cluster.setupPrimary = cluster.setupMaster = () => {};
cluster.fork = () => {
  const error = new Error('cluster.fork: not available in this build of node');
  error.code = 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM';
  throw error;
};
