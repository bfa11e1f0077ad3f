'use strict';
// The main thread's side of the module: ports and channels work within it. There are no other threads.
const EventEmitter = require('events');
const {
  MessagePort, MessageChannel, moveMessagePortToContext, receiveMessageOnPort, BroadcastChannel,
} = require('internal/worker/io');
const { markAsUntransferable } = require('internal/buffer');

class Worker extends EventEmitter {
  constructor() {
    super();
    const error = new Error('worker_threads.Worker: threads are not available in this build of node');
    error.code = 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM';
    throw error;
  }
}

const environmentData = new Map();
module.exports = {
  isMainThread: true,
  MessagePort,
  MessageChannel,
  markAsUntransferable,
  moveMessagePortToContext,
  receiveMessageOnPort,
  resourceLimits: {},
  threadId: 0,
  SHARE_ENV: Symbol.for('nodejs.worker_threads.SHARE_ENV'),
  Worker,
  parentPort: null,
  workerData: null,
  BroadcastChannel,
  setEnvironmentData(key, value) {
    if (value === undefined) environmentData.delete(key);
    else environmentData.set(key, value);
  },
  getEnvironmentData: (key) => environmentData.get(key),
};
