// diff: texts compared by characters, words, lines, JSON; patches made, parsed, applied, reversed, refused.
const diff = require('diff');

const before = 'The quick brown fox\njumps over\nthe lazy dog\n' + 'same\n'.repeat(8) + 'last line';
const after = 'The quick red fox\njumps over\nthe very lazy dog\n' + 'same\n'.repeat(8) + 'added\nlast line\n';
const show = parts => parts.map(p => (p.added ? '+' : p.removed ? '-' : '=') + JSON.stringify(p.value)).join(' ');
console.log(show(diff.diffChars('restaurant', 'aura')), show(diff.diffWords('a b  c', 'a x c d')), show(diff.diffWordsWithSpace('a b', 'a  b')));
console.log(show(diff.diffLines(before, after)), show(diff.diffSentences('One. Two! Three?', 'One. 2! Three?')), show(diff.diffCss('a{b:c}', 'a{b:d}')));
console.log(show(diff.diffJson({ b: 1, a: [1, 2] }, { a: [1, 3], b: 1 })), show(diff.diffArrays([1, 2, 3], [2, 3, 4])), show(diff.diffChars('ÄÖ', 'äö', { ignoreCase: true })));
const patch = diff.createTwoFilesPatch('old.txt', 'new.txt', before, after, 'v1', 'v2', { context: 2 });
console.log(patch);
console.log(diff.applyPatch(before, patch) === after, diff.applyPatch(after, diff.reversePatch(diff.parsePatch(patch))) === before, diff.applyPatch('something else', patch));
console.log(diff.applyPatch('new first\n' + before, patch, { fuzzFactor: 0 }) === 'new first\n' + after, diff.parsePatch(patch)[0].hunks.map(h => [h.oldStart, h.oldLines, h.newStart, h.newLines]));
console.log(JSON.stringify(diff.structuredPatch('a', 'b', 'x\n', 'y\n').hunks), diff.convertChangesToXML(diff.diffWords('a <b>', 'a <c>')), diff.canonicalize({ b: 1, a: { d: 1, c: 2 } }));
const long = n => Array.from({ length: n }, (_, i) => `line ${(i * 7919) % 101}`).join('\n');
console.log(diff.diffLines(long(600), long(640).replace(/5/g, 'five')).length, diff.diffChars('a'.repeat(200) + 'b', 'c' + 'a'.repeat(200)).length);
