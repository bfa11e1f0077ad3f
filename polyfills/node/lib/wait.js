'use strict';
// Waits for descriptors outside of the loop.
// once([fd, events, ...], milliseconds): Map of descriptor to events.
exports.once = (set, milliseconds) => new Map(native.waitFor(set, milliseconds));
