// Building and taking apart strings. argument: number of rounds.
'use strict';
const n = Number((globalThis.scriptArgs ?? process.argv.slice(1))[1]);

const escapes = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
function escape(text) {
  let out = '';
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    out += escapes[c] ?? c;
  }
  return out;
}
function hash(text) {
  let h = 0;
  for (let i = 0; i < text.length; i++) h = (h * 31 + text.charCodeAt(i)) | 0;
  return h;
}
let total = 0, h = 0;
for (let round = 0; round < n; round++) {
  let page = '<table>\n';
  for (let i = 0; i < 300; i++) page += `  <tr class="row-${i % 2}"><td>${i}</td><td>${escape(`a < b && "c${i}"`)}</td></tr>\n`;
  page += '</table>';
  const parts = [];
  for (let i = 0; i < 1000; i++) parts.push('item ' + i.toString(16).padStart(4, '0'));
  const joined = parts.join(', ');
  const words = joined.split(', ').map((w) => w.slice(5).toUpperCase()).reverse();
  let reversed = '';
  for (let i = page.length - 1; i >= 0; i--) reversed += page[i];
  total += page.length + joined.indexOf('item 03e7') + words.join('').length + reversed.lastIndexOf('>');
  h = (h + hash(page) + hash(reversed)) | 0;
}
console.log(total, h);
