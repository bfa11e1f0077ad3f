// RxJS: streams created, combined, shared, retried, timed by a virtual clock; marbles checked.
const { BehaviorSubject, EMPTY, ReplaySubject, Subject, VirtualTimeScheduler, combineLatest, concat, defer, forkJoin, from, fromEvent, interval, lastValueFrom, merge, of, range, throwError, timer, zip } = require('rxjs');
const { TestScheduler } = require('rxjs/testing');
const { EventEmitter } = require('events');
const op = require('rxjs/operators');

const show = name => ({ next: v => console.log(name, JSON.stringify(v)), error: e => console.log(name, 'error', e.message), complete: () => console.log(name, 'complete') });
range(1, 10).pipe(op.filter(n => n % 2), op.map(n => n * n), op.scan((a, n) => a + n, 0), op.takeWhile(n => n < 100, true), op.bufferCount(2)).subscribe(show('pipe'));
from(['a', 'bb', 'a', 'ccc']).pipe(op.distinct(), op.groupBy(s => s.length), op.mergeMap(g => g.pipe(op.toArray(), op.map(l => [g.key, l]))), op.reduce((a, x) => [...a, x], [])).subscribe(show('group'));
let tries = 0;
defer(() => (++tries < 3 ? throwError(() => new Error(`try ${tries}`)) : of('ok', tries))).pipe(op.retry(5), op.finalize(() => console.log('finalized'))).subscribe(show('retry'));
throwError(() => new Error('x')).pipe(op.catchError(e => concat(of(e.message), EMPTY)), op.defaultIfEmpty('none')).subscribe(show('catch'));
const subject = new BehaviorSubject(0), replay = new ReplaySubject(2);
combineLatest([subject, replay]).subscribe(show('latest'));
subject.next(1), [1, 2, 3].forEach(n => replay.next(n)), subject.complete(), replay.complete(), replay.subscribe(show('replayed'));
const clock = new VirtualTimeScheduler();
const log = [];
merge(interval(10, clock).pipe(op.take(4), op.map(n => `i${n}`)), timer(15, 20, clock).pipe(op.take(2), op.map(n => `t${n}`))).pipe(op.timestamp(clock)).subscribe(({ value, timestamp }) => log.push(`${value}@${timestamp}`));
zip(interval(7, clock), interval(5, clock)).pipe(op.takeUntil(timer(30, clock))).subscribe({ next: v => log.push(v.join('+')), complete: () => log.push('done') });
const typed = new Subject();
typed.pipe(op.debounceTime(10, clock), op.switchMap(text => timer(5, clock).pipe(op.map(() => text.toUpperCase())))).subscribe(v => log.push(`${v}@${clock.now()}`));
[['a', 0], ['ab', 5], ['abc', 30]].forEach(([text, at]) => clock.schedule(() => typed.next(text), at));
clock.flush();
console.log(log.join(' '));
new TestScheduler((actual, expected) => console.log(JSON.stringify(actual) === JSON.stringify(expected), actual.length)).run(({ cold, expectObservable }) => {
  expectObservable(cold('a-b-(c|)').pipe(op.delay(2), op.concatMap(v => cold('xy|').pipe(op.map(w => v + w))))).toBe('--(a)b', {});
  expectObservable(cold('-a-b-c|').pipe(op.throttleTime(3))).toBe('-a---c|');
});
const emitter = new EventEmitter();
lastValueFrom(fromEvent(emitter, 'e').pipe(op.take(2), op.toArray())).then(show('event').next).then(() => lastValueFrom(forkJoin({ a: of(1, 2), b: Promise.resolve(3) }))).then(show('fork').next).then(() => lastValueFrom(EMPTY)).catch(e => console.log(e.name));
emitter.emit('e', 1), emitter.emit('e', 2);
