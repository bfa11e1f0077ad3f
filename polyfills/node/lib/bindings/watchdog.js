'use strict';
exports.TraceSigintWatchdog = class TraceSigintWatchdog { start() {} stop() {} };
