// Order of timers, ticks, microtasks, immediates.
const log = (...a) => console.log(...a);
setTimeout(() => { log('timeout 0'); Promise.resolve().then(() => log('micro in timeout')); process.nextTick(() => log('tick in timeout')); }, 0);
setTimeout(() => log('timeout 150'), 150);
setImmediate(() => { log('immediate'); setImmediate(() => log('immediate 2')); process.nextTick(() => log('tick in immediate')); });
process.nextTick(() => { log('tick 1'); process.nextTick(() => log('tick nested')); Promise.resolve().then(() => log('micro in tick')); });
Promise.resolve().then(() => { log('micro 1'); process.nextTick(() => log('tick in micro')); }).then(() => log('micro 2'));
queueMicrotask(() => log('queueMicrotask')); (async () => { log('async start'); await null; log('async after await'); })();
const i = setInterval(() => { log('interval'); if (++n === 3) clearInterval(i); }, 300); let n = 0;
const t = setTimeout(() => log('never'), 10); clearTimeout(t); setTimeout((a, b) => log('args', a, b), 100, 'x', 'y'); setTimeout(() => log('unref never'), 1000).unref();
process.on('exit', (c) => log('exit', c)); process.on('beforeExit', () => { log('beforeExit'); if (!again) { again = true; setTimeout(() => log('again'), 1); } }); let again = false;
log('sync end', typeof t.ref, t.hasRef(), t[Symbol.toPrimitive]() > 0);
require('timers/promises').setTimeout(200, 'value').then((v) => log('promise timer', v));
setTimeout(() => { try { null.x; } catch (e) { log(e instanceof TypeError); } }, 250);
// The timer of 1 ms is due when the loop begins, however fast the start was.
for (const begin = Date.now(); Date.now() - begin < 3;);
