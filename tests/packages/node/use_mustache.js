// mustache: sections, partials, lambdas, escaping, delimiters, and parse errors.
const Mustache = require('mustache');

const view = { title: '<T & "t">', list: [{ n: 1 }, { n: 2, sub: ['x', 'y'] }], empty: [], yes: true, person: { first: 'Ada', last: { name: 'L' } }, bold: () => (text, render) => `<b>${render(text)}</b>`, calc() { return this.list.length * 2; }, nothing: null, zero: 0, text: 'str' };
const partials = { row: '<li>{{n}}{{#sub}} {{.}}{{/sub}}</li>\n', deep: '{{person.first}}{{> inner}}', inner: '!{{title}}' };
console.log(Mustache.render(`{{! comment }}{{title}} {{{title}}} {{&title}} {{missing}}|
{{#list}}
  {{> row}}
{{/list}}
{{^empty}}none{{/empty}}{{#yes}} yes{{/yes}}{{#zero}}never{{/zero}}{{^zero}} zero{{/zero}} {{person.last.name}} {{#person}}{{first}} {{last.name}}{{/person}}
{{#bold}}Hi {{person.first}}{{/bold}} {{calc}} {{=<% %>=}}<% text %> {{kept}}<%={{ }}=%> {{#text}}{{length}}{{/text}} {{> deep}}`, view, partials));
console.log(JSON.stringify(Mustache.parse('a {{b}}{{#c}}\n d {{/c}}{{> e}}')), Mustache.render('[[x]] {{x}}', { x: '&' }, {}, ['[[', ']]']), Mustache.render('{{x}}', { x: '<' }, {}, { escape: text => `(${text})` }));
const writer = new Mustache.Writer();
console.log(writer.render('{{a.b}} {{#l}}{{.}},{{/l}}', new Mustache.Context({ a: { b: 1 } }).push({ l: [[1, 2], 'z'] })));
for (const bad of ["{{#a}}", "{{a", "{{/a}}", "{{#a}}{{/b}}"]) {
  try {
    Mustache.render(bad, {});
  } catch (error) {
    console.log(error.message);
  }
}
try {
  Mustache.render(5, {});
} catch (error) {
  console.log(error.name, error.message.slice(0, 40));
}
