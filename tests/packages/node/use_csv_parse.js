// csv-parse: quoted fields, headers, casts, delimiters, streams and errors.
const { parse: parseSync } = require('csv-parse/sync');
const { parse } = require('csv-parse');
const { Readable } = require('stream');

const text = 'name;size;since\r\n"a ""quoted"" name";12.5;1977-01-01\n# comment\n"two\nlines";;2000-02-29\n\n  spaced ;7;\n';
const options = { delimiter: ';', columns: true, skip_empty_lines: true, comment: '#', trim: true, record_delimiter: ['\r\n', '\n'] };
console.log(parseSync(text, options));
console.log(parseSync(text, { ...options, cast: (value, { column, header }) => (header ? value : column === 'size' ? Number(value) : value), from: 2, info: true }).map(r => [r.record.size, r.info.lines]));
console.log(parseSync('\ufeffa,b\n1,2,3\n4\n', { bom: true, relax_column_count: true, columns: ['x', 'y'], group_columns_by_name: false }), parseSync('a\tb|c\td', { delimiter: '\t', record_delimiter: '|' }));
for (const [bad, extra] of [['a,b\n1', {}], ['"open', {}], ['a"b,c', {}], ['"a"b', {}]]) {
  try {
    console.log(parseSync(bad, extra));
  } catch (error) {
    console.log(error.code, error.message);
  }
}
const rows = [];
const parser = Readable.from(['id,va', 'lue\n1,"x', 'y"\n2,', 'z\n']).pipe(parse({ columns: true, on_record: record => (record.id === '2' ? null : { ...record, seen: true }) }));
parser.on('readable', () => { for (let row; (row = parser.read()) !== null;) rows.push(row); });
parser.on('end', async () => {
  console.log(rows, parser.info.records);
  let sum = 0;
  for await (const [n] of Readable.from(Array.from({ length: 1000 }, (_, n) => `${n},x\n`)).pipe(parse({ cast: true }))) sum += n;
  console.log(sum);
});
