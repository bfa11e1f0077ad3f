// minimatch: globs with braces, globstars, extglobs, classes and negation against many paths.
const { Minimatch, braceExpand, escape, filter, makeRe, match, minimatch } = require('minimatch');

const paths = ['a.js', 'b.ts', '.hidden.js', 'src/a.js', 'src/deep/er/b.test.js', 'src/.git/x', 'x[1].txt', 'ü.js', 'A.JS', 'dir/', '#c', '!n', 'ab1', 'foo.min.js'];
for (const [pattern, options] of [['*.js'], ['**/*.js'], ['src/**'], ['**', { dot: true }], ['*.{js,ts}'], ['!(*.min).js'], ['@(a|b).+(j|t)s'], ['[ab]*'], ['[!a-b]*'], ['x\\[1\\].txt'], ['*.js', { nocase: true }], ['!*.js'], ['#c'], ['#c', { nocomment: true }],
  ['\\!n'], ['?.js'], ['**/er/**/*.js'], ['{a..c}*'], ['[[:alpha:]]*[[:digit:]]'], ['a.js', { matchBase: true }], ['src/*/er/*', { partial: false }], ['*', { flipNegate: true }]]) {
  console.log(pattern, options ?? '', match(paths, pattern, options));
}
console.log(braceExpand('a{1..3}{x,y{z,}}'), braceExpand('{01..10..4}'), paths.filter(filter('*.t*')), escape('a*[b]?'), makeRe('a/**/b?.js').source, minimatch('a/b', 'a\\b'));
const mm = new Minimatch('src/**/b.*', {});
console.log(mm.set.length, mm.match('src/b.c'), mm.hasMagic(), mm.match('src/deep', true), mm.makeRe().test('src/x/y/b.js'), new Minimatch('a+(b|c)').hasMagic());
console.log(minimatch('a'.repeat(60), '*a*a*a*a*a*a*b'), minimatch('long/' + 'd/'.repeat(50) + 'f', '**/d/**/f'));
try {
  minimatch('x', 'y'.repeat(70000));
} catch (error) {
  console.log(error.name, error.message);
}
