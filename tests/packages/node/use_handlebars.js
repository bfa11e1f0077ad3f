// Handlebars: helpers, partials, blocks, data variables, escaping, precompiled templates and errors.
const Handlebars = require('handlebars');

const hb = Handlebars.create();
hb.registerHelper('upper', text => String(text).toUpperCase());
hb.registerHelper('link', (text, options) => new hb.SafeString(`<a ${Object.entries(options.hash).map(([k, v]) => `${k}="${hb.escapeExpression(v)}"`).join(' ')}>${hb.escapeExpression(text)}</a>`));
hb.registerHelper('times', function (n, options) { return Array.from({ length: n }, (_, i) => options.fn(this, { data: { ...options.data, i }, blockParams: [i] })).join(options.inverse(this).trim()); });
hb.registerHelper('helperMissing', (...args) => `?${args.at(-1).name}?`);
hb.registerPartial('row', '<li{{#if active}} class=on{{/if}}>{{@partial-block}}{{name}} {{> sub n=@index}}</li>');
hb.registerPartial('sub', '({{n}}{{prefix}})');
const template = hb.compile(`{{! comment }}{{title}} {{{title}}} {{upper "lit"}} {{nothing 1}} {{{{raw}}}} {{x}} {{{{/raw}}}}
{{#each rows as |row i|}}{{#> row row active=@first prefix="!"}}b{{/row}}{{#unless @last}},{{/unless}}{{else}}none{{/each}}
{{~#with person}} {{first}} {{../title}} {{@root.title}} {{lookup ../map last}}{{/with}}
{{#times 3 as |k|}}{{k}}{{@i}}{{else}}-{{/times}} {{link "a<b" href="x&y" id=5}} {{#each map}}{{@key}}={{this}};{{/each}} {{#if (eq 1 2)}}a{{else if zero includeZero=true}}zero{{/if}}
{{#*inline "own"}}[{{this}}]{{/inline}}{{#each list}}{{> own}}{{/each}} {{list.[1]}} {{person.[first]}} \\{{kept}}`);
hb.registerHelper('raw', options => options.fn());
hb.registerHelper('eq', (a, b) => a === b);
console.log(template({ title: '<T & "t">', rows: [{ name: 'one' }, { name: 'two' }], person: { first: 'Ada', last: 'l' }, map: { l: 'L', m: 'M' }, zero: 0, list: ['x', '<y>'] }));
console.log(hb.compile('{{#each rows}}x{{else}}none{{/each}} {{a.b.c}} {{constructor}}')({ rows: [] }), new Function('Handlebars', `return Handlebars.template(${hb.precompile('Hi {{name}}!')})`)(hb)({ name: 'spec' }));
console.log(hb.parse('{{#a}}{{b c=1}}{{/a}}').body[0].program.body[0].hash.pairs[0].key, hb.compile('{{a}}', { noEscape: true })({ a: '<' }));
for (const bad of ['{{#if a}}', '{{a', '{{/if}}', '{{> missing}}', '{{#a}}{{/b}}']) {
  try {
    hb.compile(bad)({});
  } catch (error) {
    console.log(error.message.split('\n')[0]);
  }
}
try {
  hb.compile('{{x.y}}', { strict: true })({ x: {} });
} catch (error) {
  console.log(error.message);
}
