'use strict';
// internalBinding('timers'): one timer of the loop serves all of Node's.
const loop = load('loop');
exports.immediateInfo = loop.immediateInfo;
exports.timeoutInfo = loop.timeoutInfo;
exports.setupTimers = (processImmediate, processTimers) => Object.assign(loop.callbacks, { processImmediate, processTimers });
exports.getLibuvNow = () => loop.now();
exports.scheduleTimer = loop.scheduleTimer;
exports.toggleTimerRef = loop.toggleTimerRef;
exports.toggleImmediateRef = loop.toggleImmediateRef;
