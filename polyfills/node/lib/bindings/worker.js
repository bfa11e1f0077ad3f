'use strict';
Object.assign(exports, {
  isMainThread: true, ownsProcessState: true, threadId: 0, resourceLimits: new Float64Array(4), getEnvMessagePort() {},
  kMaxYoungGenerationSizeMb: 0, kMaxOldGenerationSizeMb: 1, kCodeRangeSizeMb: 2, kStackSizeMb: 3, kTotalResourceLimitCount: 4,
  Worker: class Worker { constructor() { throw new Error('worker threads are not available'); } },
});
