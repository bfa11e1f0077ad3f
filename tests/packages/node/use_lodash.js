// lodash: collections, objects, functions and strings, in chains and alone.
const _ = require('lodash');
const fp = require('lodash/fp');

const tools = [{ name: 'awk', size: 12, tags: ['text', 'old'] }, { name: 'sed', size: 7, tags: ['text'] }, { name: 'bc', size: 7, tags: [] }];
console.log(_(tools).groupBy('size').mapValues(l => _.map(l, 'name')).value(), _.orderBy(tools, ['size', 'name'], ['desc', 'asc']).map(t => t.name), _.sumBy(tools, 'size'), _.countBy(_.flatMap(tools, 'tags')));
const deep = { a: [{ b: { c: 3 } }], d: new Date(0), r: /x/g, m: new Map([[1, { z: 1 }]]), f: NaN };
const copy = _.cloneDeep(deep);
console.log(_.isEqual(deep, copy), copy.a !== deep.a, _.get(deep, 'a[0].b.c'), _.get(deep, ['x', 'y'], 'none'), _.set({}, 'p[1].q', 1), _.unset(copy, 'a[0].b'), _.isEqual(deep, copy));
console.log(_.merge({ a: [1, { x: 1 }], b: 1 }, { a: [2, { y: 2 }], c: null }), _.defaultsDeep({ a: { b: 1 } }, { a: { b: 2, c: 3 } }), _.pick(tools[0], ['name']), _.omit(tools[0], 'tags'), _.invert({ a: 1 }), _.pickBy({ a: 0, b: 1 }));
console.log(_.chunk(_.range(7), 3), _.zipObject(['a', 'b'], [1, 2]), _.difference([1, 2, 3], [2]), _.intersectionBy([2.1, 1.2], [2.3], Math.floor), _.xor([1, 2], [2, 3]), _.partition([1, 2, 3, 4], n => n % 2), _.unionWith([{ x: 1 }], [{ x: 1 }], _.isEqual), _.sortedIndex([10, 20], 15));
console.log(_.camelCase('Foo bar--baz'), _.kebabCase('fooBarBaz2x'), _.startCase('__foo_bar'), _.deburr('déjà vu'), _.truncate('long text here', { length: 10, separator: ' ' }), _.pad('x', 5, '-'), _.words('fred, barney & pebbles'), _.escape('<a & "b">'), _.template('<% _.each(l, x => { %><%- x %>;<% }) %> ${ l.length }')({ l: ['<', 'y'] }));
const calls = [];
const memo = _.memoize(n => calls.push(n) && n * 2);
console.log(memo(2), memo(2), calls, _.curry((a, b, c) => a + b + c)(1)(2, 3), _.flow([Math.abs, n => n + 1])(-4), _.once(() => calls.push('once'))(), _.partialRight((a, b) => a - b, 1)(10), _.rearg((a, b) => [a, b], [1, 0])(1, 2), _.over([Math.max, Math.min])(1, 5), _.throttle(() => 'ran')());
console.log(fp.flow(fp.filter(t => t.size < 10), fp.map('name'), fp.join('+'))(tools), _.inRange(3, 1, 5), _.clamp(9, 0, 5), _.round(4.0065, 2), _.toPath('a[0].b["c.d"]'), _.isPlainObject(Object.create(null)), _.isEmpty(new Set()), _.result({ f: () => 5 }, 'f'), _.times(3, String), _.uniqueId('id') !== _.uniqueId('id'));
let debounced = 0;
const later = _.debounce(() => { debounced++; }, 20);
later(), later(), later();
setTimeout(() => console.log('debounced', debounced), 120);
