'use strict';
// The event loop, in libuv's order: timers, then what was deferred and what descriptors are ready (poll), immediates, closing.
//
// Everything Node calls a handle or request is a reference here: the loop ends when none is left. Work that libuv gives to a
// thread pool (files, hashes, compression) is deferred to the poll phase and done there, in order of request.

const ready = new Int32Array(256);
const watchers = new Map();   // descriptor -> { events, callback, ref }
let deferred = [];            // functions for the next poll phase
let closing = [];             // functions for the end of this turn
let references = 0;           // watchers and other handles that keep the loop alive
let timerDue = Infinity;      // milliseconds on the loop's clock
let timerReferenced = true;
let immediateReferenced = false;
let started = native.now();
let loopNow = 0;

exports.immediateInfo = new Uint32Array(3);   // count, reference count, has outstanding
exports.timeoutInfo = new Int32Array(1);
exports.callbacks = { processImmediate() {}, processTimers() { return 0; }, tick() {}, onError(error) { throw error; } };

// A fresh clock for a fresh process: Node's loop time starts near 0.
exports.refresh = () => { started = native.now(); loopNow = 0; };
exports.updateTime = () => loopNow = Math.trunc(native.now() - started);
exports.now = () => loopNow;

exports.ref = () => { references++; };
exports.unref = () => { references--; };

exports.scheduleTimer = (milliseconds) => { timerDue = exports.updateTime() + milliseconds; };
exports.toggleTimerRef = (on) => { timerReferenced = on; };
exports.toggleImmediateRef = (on) => { immediateReferenced = on; };

exports.defer = (work) => { deferred.push(work); };
exports.onClose = (work) => { closing.push(work); };

// watch(fd, events, callback): events 1 readable, 4 writable; 0 ends it. callback(events) gets what poll(2) says.
exports.watch = (fd, events, callback) => {
  const known = watchers.get(fd);
  if (events === 0) {
    if (known !== undefined) watchers.delete(fd);
  } else if (known !== undefined) {
    if (known.events === events && known.callback === callback) return;
    known.events = events;
    known.callback = callback;
  } else {
    watchers.set(fd, { events, callback });
  }
  native.watch(fd, events);
};

const { tickInfo } = load('ticks');

// Calls into JavaScript from the loop: afterwards the nextTick queue and the microtasks run, and what was thrown is handed to
// the process's handlers.
exports.call = (fn, self, ...args) => {
  let result;
  try {
    result = Reflect.apply(fn, self, args);
  } catch (error) {
    exports.callbacks.onError(error, false);
  }
  exports.settle();
  return result;
};

exports.settle = () => {
  for (;;) {
    try {
      if (!tickInfo[0] && !tickInfo[1]) load('ticks').runMicrotasks();
      if (!tickInfo[0] && !tickInfo[1]) return;
      exports.callbacks.tick();
      return;
    } catch (error) {
      exports.callbacks.onError(error, false);
    }
  }
};

function runTimers() {
  while (timerDue <= loopNow) {
    timerDue = Infinity;
    let next = 0;
    for (;;) {
      try {
        next = exports.callbacks.processTimers(loopNow);
        break;
      } catch (error) {
        // processTimers itself schedules the rest again before the error gets here.
        exports.callbacks.onError(error, false);
      }
    }
    exports.settle();
    if (next !== 0) {
      timerReferenced = next > 0;
      timerDue = Math.max(Math.abs(next), exports.updateTime() + 1);
    }
  }
}

function alive() {
  return references > 0 || deferred.length > 0 || closing.length > 0 || immediateReferenced ||
         exports.immediateInfo[1] > 0 || (timerDue !== Infinity && timerReferenced);
}
exports.alive = alive;
// Whether nothing was begun, not even what lets the process end.
exports.idle = () => !alive() && watchers.size === 0 && timerDue === Infinity && exports.immediateInfo[0] === 0;

function poll() {
  let timeout = -1;
  if (deferred.length > 0 || closing.length > 0 || exports.immediateInfo[1] > 0 || immediateReferenced) {
    timeout = 0;
  } else if (timerDue !== Infinity) {
    timeout = Math.max(0, timerDue - exports.updateTime());
  }
  if (!alive()) timeout = 0;
  const work = deferred;
  deferred = [];
  if (timeout !== 0 || watchers.size > 0) {
    const count = native.wait(timeout > 0x7fffffff ? 0x7fffffff : timeout, ready);
    exports.updateTime();
    const events = ready.slice(0, count * 2);
    for (let i = 0; i < count; i++) {
      const watcher = watchers.get(events[2 * i]);
      if (watcher !== undefined) watcher.callback(events[2 * i + 1]);
    }
  }
  for (const item of work) item();
}

function immediates() {
  if (exports.immediateInfo[0] === 0 && !immediateReferenced) return;
  for (;;) {
    try {
      exports.callbacks.processImmediate();
    } catch (error) {
      exports.callbacks.onError(error, false);
      exports.settle();
      if (exports.immediateInfo[2] !== 0) continue;
    }
    break;
  }
  exports.settle();
  if (exports.immediateInfo[1] === 0) immediateReferenced = false;
}

function runClosing() {
  const work = closing;
  closing = [];
  for (const item of work) item();
}

// Runs until nothing is left.
exports.run = () => {
  while (alive()) {
    exports.updateTime();
    runTimers();
    poll();
    immediates();
    runClosing();
    exports.updateTime();
    runTimers();
  }
};
