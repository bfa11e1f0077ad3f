'use strict';
// internalBinding('v8')
exports.cachedDataVersionTag = () => 0;
exports.setFlagsFromString = () => {};
exports.setHeapSnapshotNearHeapLimit = () => {};
exports.isStringOneByteRepresentation = (s) => /^[\x00-\xff]*$/.test(s);
exports.startupSnapshot = {};
exports.binding = {};
exports.heapStatisticsBuffer = new Float64Array(14);
exports.heapCodeStatisticsBuffer = new Float64Array(4);
exports.heapSpaceStatisticsBuffer = new Float64Array(5);
exports.updateHeapStatisticsBuffer = () => { const [total] = native.heapStatistics(); exports.heapStatisticsBuffer[0] = exports.heapStatisticsBuffer[4] = total; };
exports.updateHeapCodeStatisticsBuffer = exports.updateHeapSpaceStatisticsBuffer = () => {};
exports.kHeapSpaces = [];
exports.GCProfiler = class GCProfiler {};
