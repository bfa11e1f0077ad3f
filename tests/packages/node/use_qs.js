// qs: nested query strings parsed and written, with arrays, depths, charsets, limits and filters.
const qs = require('qs');

for (const [text, options] of [['a[b][c]=1&a[b][d][]=x&a[b][d][]=y&e=%C3%A4+b&f&g='], ['a[1]=b&a[0]=c&a[9]=z', { allowSparse: true }], ['a[100]=x'], ['a.b.c=1&a%2Eb=2', { allowDots: true }], ['a=1;b=2,3', { delimiter: /[;]/, comma: true }], ['?x=1&x=2&x=3', { ignoreQueryPrefix: true, duplicates: 'last' }],
  ['a[b][c][d][e][f][g]=1'], ['a[b][c]=1', { depth: 0 }], ['a=%E4', { charset: 'iso-8859-1' }], ['utf8=%E2%9C%93&a=%C3%A4', { charsetSentinel: true, charset: 'iso-8859-1' }], ['a=1&b=2&c=3', { parameterLimit: 2 }], ['a&b=', { strictNullHandling: true }], ['__proto__[x]=1&constructor=2', { allowPrototypes: false }], ['n=5&t=true', { decoder: (s, d, c, type) => (type === 'value' && /^\d+$/.test(s) ? Number(s) : d(s)) }], ['a[]=&b[]', { allowEmptyArrays: true }]]) {
  console.log(text, JSON.stringify(qs.parse(text, options)));
}
const data = { a: { b: [1, { c: 'x y' }], d: null }, e: undefined, 'k&': 'ä', when: new Date(0), list: ['p', 'q'], flag: false };
for (const options of [{}, { encode: false }, { arrayFormat: 'brackets', encodeValuesOnly: true }, { arrayFormat: 'repeat', skipNulls: true }, { arrayFormat: 'comma' }, { allowDots: true, addQueryPrefix: true }, { format: 'RFC1738', sort: (x, y) => (x < y ? 1 : -1) }, { filter: ['list', 'flag'] }, { filter: (prefix, value) => (prefix === 'a' ? undefined : value), delimiter: ';', strictNullHandling: true }, { charset: 'iso-8859-1', serializeDate: d => d.getTime() }]) {
  console.log(JSON.stringify(Object.keys(options)), qs.stringify(data, options));
}
for (const call of [() => qs.parse('a[b][c]=1', { depth: 1, strictDepth: true }), () => qs.parse('a=1&b=2', { parameterLimit: 1, throwOnLimitExceeded: true }), () => { const loop = {}; loop.l = loop; return qs.stringify(loop); }]) {
  try {
    console.log(call());
  } catch (error) {
    console.log(error.name, error.message);
  }
}
console.log(qs.parse(qs.stringify(data)).a.b[1].c, {}.x);
