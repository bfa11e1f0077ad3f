// Regular expressions: search, capture, replace, split. argument: number of rounds.
'use strict';
const n = Number((globalThis.scriptArgs ?? process.argv.slice(1))[1]);

const lines = Array.from({ length: 400 }, (_, i) =>
  `192.168.${i % 256}.${i * 7 % 256} - user${i} [${i % 28 + 1}/Nov/2024:1${i % 10}:0${i % 6}:30 +0000] ` +
  `"GET /path/${i}/index-${i % 9}.html?q=${i * 31 % 997}&x=a%20b HTTP/1.1" ${200 + i % 5 * 100} ${i * 37} "Mozilla/5.0 (X11; Linux)"`);
const text = lines.join('\n');
const line = /^(\d+\.\d+\.\d+\.\d+) - (\S+) \[([^\]]+)\] "(GET|POST) ([^ ?]+)(?:\?(\S*))? HTTP\/[\d.]+" (\d{3}) (\d+)/;
let found = 0, length = 0;
for (let round = 0; round < n; round++) {
  for (const one of lines) {
    const match = line.exec(one);
    found += Number(match[8]) + match[5].length;
  }
  length += text.replace(/(\d{1,2})\/([A-Z][a-z]{2})\/(\d{4})/g, '$3-$2-$1').length;
  length += text.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16))).length;
  found += [...text.matchAll(/(?<key>[a-z]+)=(?<value>[^&\s]+)/g)].length;
  found += text.split(/[\s"[\]]+/).length;
  found += (text.match(/\b(?:index|path|user)-?\d*\b/g) ?? []).length;
  found += text.search(/user399 \[.*?Linux(?=\))/s);
}
console.log(found, length);
