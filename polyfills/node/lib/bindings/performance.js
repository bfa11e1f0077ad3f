'use strict';
// internalBinding('performance')
exports.observerCounts = new Uint32Array(5);
exports.milestones = new Float64Array(6).fill(-1);
exports.constants = {
  NODE_PERFORMANCE_ENTRY_TYPE_GC: 0, NODE_PERFORMANCE_ENTRY_TYPE_HTTP: 1, NODE_PERFORMANCE_ENTRY_TYPE_HTTP2: 2,
  NODE_PERFORMANCE_ENTRY_TYPE_NET: 3, NODE_PERFORMANCE_ENTRY_TYPE_DNS: 4,
  NODE_PERFORMANCE_MILESTONE_ENVIRONMENT: 0, NODE_PERFORMANCE_MILESTONE_NODE_START: 1, NODE_PERFORMANCE_MILESTONE_V8_START: 2,
  NODE_PERFORMANCE_MILESTONE_LOOP_START: 3, NODE_PERFORMANCE_MILESTONE_LOOP_EXIT: 4,
  NODE_PERFORMANCE_MILESTONE_BOOTSTRAP_COMPLETE: 5,
  NODE_PERFORMANCE_GC_MAJOR: 4, NODE_PERFORMANCE_GC_MINOR: 1, NODE_PERFORMANCE_GC_INCREMENTAL: 8, NODE_PERFORMANCE_GC_WEAKCB: 16,
  NODE_PERFORMANCE_GC_FLAGS_NO: 0, NODE_PERFORMANCE_GC_FLAGS_CONSTRUCT_RETAINED: 2, NODE_PERFORMANCE_GC_FLAGS_FORCED: 4,
  NODE_PERFORMANCE_GC_FLAGS_SYNCHRONOUS_PHANTOM_PROCESSING: 8, NODE_PERFORMANCE_GC_FLAGS_ALL_AVAILABLE_GARBAGE: 16,
  NODE_PERFORMANCE_GC_FLAGS_ALL_EXTERNAL_MEMORY: 32, NODE_PERFORMANCE_GC_FLAGS_SCHEDULE_IDLE: 64,
};
let origin = 0, originWall = 0;
// The start of this process, on both clocks.
exports.refresh = () => {
  origin = native.now();
  originWall = native.wallClock() / 1000;
  for (let i of [0, 1, 2]) exports.milestones[i] = origin * 1e6;
};
exports.refresh();
exports.getTimeOrigin = () => origin;
exports.getTimeOriginTimestamp = () => originWall;
exports.now = () => native.now() - origin;
exports.markMilestone = (index) => { exports.milestones[index] = native.now() * 1e6; };
exports.markBootstrapComplete = () => exports.markMilestone(5);
exports.loopIdleTime = () => 0;
exports.setupObservers = exports.installGarbageCollectionTracking = exports.removeGarbageCollectionTracking = () => {};
exports.notify = () => {};
exports.Histogram = class Histogram {};
exports.createELDHistogram = () => { throw new Error('event loop histograms are not available'); };
