// Ramda: functions curried, piped and lifted over data; lenses, transducers, sorting, grouping.
const R = require('ramda');

const tools = [{ name: 'awk', size: 12, meta: { tags: ['text', 'old'] } }, { name: 'sed', size: 7, meta: { tags: ['text'] } }, { name: 'bc', size: 7, meta: { tags: [] } }];
console.log(R.pipe(R.filter(R.propSatisfies(R.lt(R.__, 10), 'size')), R.sortBy(R.prop('name')), R.pluck('name'), R.join('+'))(tools), R.groupBy(t => String(t.size), tools)['7'].length, R.sortWith([R.descend(R.prop('size')), R.ascend(R.prop('name'))], tools).map(R.prop('name')));
const tags = R.lensPath(['meta', 'tags', 0]);
console.log(R.view(tags, tools[0]), R.over(tags, R.toUpper, tools[0]).meta, R.set(R.lensProp('size'), 0, tools[1]), R.path(['a', 'b'], {}), R.pathOr('none', ['x'], {}), R.evolve({ size: R.inc, meta: { tags: R.length } }, tools[0]));
console.log(R.into([], R.compose(R.map(R.multiply(3)), R.filter(n => n % 2), R.take(3)), R.range(0, 100)), R.transduce(R.dropRepeats(), R.flip(R.append), [], [1, 1, 2, 2, 1]), R.scan(R.add, 0, [1, 2, 3]), R.reduceWhile((a, n) => a < 10, R.add, 0, R.range(1, 100)));
console.log(R.mergeDeepRight({ a: { b: 1, c: [1] } }, { a: { c: [2], d: 3 } }), R.assocPath(['x', 1, 'y'], 5, {}), R.dissocPath(['meta', 'tags'], tools[2]), R.pick(['a', 'z'], { a: 1 }), R.zipObj(['a', 'b'], [1, 2]), R.invert({ a: 'x', b: 'x' }), R.toPairs({ q: 1 }));
console.log(R.lift((a, b) => a + b)([1, 2], [10, 20]), R.ap([R.inc, R.dec], [5]), R.sequence(R.of(Array), [[1, 2], [3]]), R.traverse(R.of(Array), x => [x, -x], [1, 2]), R.xprod([1, 2], ['a']), R.aperture(2, [1, 2, 3]), R.splitEvery(2, 'abcde'), R.transpose([[1, 2], [3]]));
console.log(R.equals({ a: [1, new Map([[1, { b: NaN }]])] }, { a: [1, new Map([[1, { b: NaN }]])] }), R.uniqBy(Math.abs, [-1, 1, 2]), R.symmetricDifference([1, 2], [2, 3]), R.cond([[R.equals(0), R.always('zero')], [R.T, n => `n${n}`]])(5), R.converge(R.divide, [R.sum, R.length])([1, 2, 6]), R.memoizeWith(String, n => n + 1)(4), R.unfold(n => (n > 50 ? false : [n, n * 2]), 1));
console.log(R.tryCatch(JSON.parse, R.always('bad'))('{'), R.where({ size: R.gt(R.__, 10) }, tools[0]), R.innerJoin((t, n) => t.name === n, tools, ['bc']).length, R.countBy(R.toLower)(['a', 'A', 'b']), R.curryN(2, Math.max)(3)(9), R.useWith(Math.pow, [R.dec, R.inc])(3, 2), R.toString({ a: [1, 'x', new Date(0)] }), R.type(/x/), R.median([5, 1, 3]));
R.andThen(console.log, R.pipeWith((f, r) => Promise.resolve(r).then(f))([R.inc, async n => n * 2])(4));
