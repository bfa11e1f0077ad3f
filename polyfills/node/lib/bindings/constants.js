'use strict';
// internalBinding('constants'): the numbers of this platform.
const { constants } = load('data/constants');
for (const key of Object.keys(constants)) exports[key] = Object.assign(Object.create(null), constants[key]);
exports.os.signals = Object.assign(Object.create(null), constants.os.signals);
exports.trace ??= {};
