// PostCSS: a style sheet parsed, walked, changed by plugins, written with a source map; errors with their places.
const postcss = require('postcss');

const css = `@charset "utf-8";
:root { --main: #f00 }
/* note */
a, a:hover > b::before { color : red!important; background: url(x;y.png) ; content: "\\201C }" }
@media (min-width: 10px) { .c { margin: 0 auto; &:focus { top: 1px } } @supports (display: grid) { i{} } }
@import url("x.css") screen;
`;
const swap = { postcssPlugin: 'swap', Once(root, { result }) { result.warn('seen', { node: root.first }); }, Declaration: { color(decl) { if (decl.value === 'red') decl.value = 'blue'; } }, AtRule: { import: rule => { rule.remove(); } } };
const nest = () => ({ postcssPlugin: 'nest', Rule(rule) { if (rule.parent.type === 'rule') { rule.selectors = rule.selectors.map(s => s.replace('&', rule.parent.selector)); rule.parent.after(rule); } }, RuleExit(rule) { if (!rule.nodes.length) rule.remove(); } });
nest.postcss = true;
(async () => {
  const result = await postcss([swap, nest]).process(css, { from: 'in.css', to: 'out.css', map: { inline: false, sourcesContent: false } });
  console.log(result.css, JSON.parse(result.map.toString()).sources, result.map.toString().length > 100, result.warnings().map(String), result.messages.length);
  const root = postcss.parse(css, { from: 'in.css' });
  root.walkDecls(/^(color|--)/, decl => console.log(decl.prop, decl.value, decl.important ?? false, decl.source.start.line, decl.source.start.column, JSON.stringify(decl.raws)));
  root.walkRules(rule => console.log(rule.selectors, rule.parent.type));
  root.walkComments(comment => { comment.text = 'changed'; });
  root.append({ selector: 'new', nodes: [postcss.decl({ prop: 'x', value: '1' })] }, '@layer a { b { c: d } }');
  root.first.replaceWith(postcss.comment({ text: 'gone' }));
  console.log(root.toString(), postcss.list.comma('a, b(c, d), "e, f"'), postcss.list.space('1px calc(1 + 2) x'), postcss.fromJSON(root.toJSON()).toString() === root.toString());
  for (const bad of ['a {', 'a { b }', 'a { b: "c', '}', '/* x', 'a { : c }']) {
    try {
      postcss.parse(bad, { from: 'f.css' });
      console.log('parsed', bad);
    } catch (error) {
      console.log(error.name, error.reason, error.line, error.column);
    }
  }
})();
