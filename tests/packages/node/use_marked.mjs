// marked: Markdown to HTML and tokens, with extensions and a renderer of our own.
import { Lexer, Marked, lexer, marked } from 'marked';

const text = `Head
====

Para with **bold *nested***, \`code <b>\`, [link](http://a.example "t"), ![img](i.png), ~~gone~~, https://auto.example and <b>html</b>.
Line  
break &amp; \\*escaped\\*

1. one
2. two
   - [x] done
   - [ ] open

> quote
> > deep

| a | b |
|:--|--:|
| 1 | \`|\` |

\`\`\`js
let x = 1 < 2;
\`\`\`

[ref]: /url 'title'
A [ref] and ==marked== text.

***
`;
console.log(marked(text));
const walk = (tokens, depth = 0) => tokens.map(t => `${' '.repeat(depth)}${t.type}${t.tokens ? '\n' + walk(t.tokens, depth + 1) : ''}`).join('\n');
console.log(walk(lexer('# a *b*\n\n- c\n')), Lexer.lexInline('x `y`').length);
const own = new Marked({ gfm: true, breaks: true }, {
  renderer: { heading({ tokens, depth }) { return `<h${depth} id="${this.parser.parseInline(tokens).toLowerCase().replace(/\W+/g, '-')}">${this.parser.parseInline(tokens)}</h${depth}>\n`; }, link: ({ href, text: inner }) => (href.startsWith('javascript:') ? inner : `<a rel=nofollow href="${href}">${inner}</a>`) },
  extensions: [{ name: 'mark', level: 'inline', start: src => src.indexOf('=='), tokenizer(src) { const m = /^==([^=]+)==/.exec(src); return m ? { type: 'mark', raw: m[0], tokens: this.lexer.inlineTokens(m[1]) } : undefined; }, renderer(token) { return `<mark>${this.parser.parseInline(token.tokens)}</mark>`; } }],
  walkTokens: token => { if (token.type === 'code') token.text = token.text.toUpperCase(); },
  hooks: { postprocess: html => html + '<!-- end -->' },
});
console.log(own.parse('## Some *Head* 1\n\nA ==marked **b**== [x](javascript:1) [y](/z)\nnext\n\n    code\n'), own.parseInline('**in**'));
console.log(await new Marked({ async: true, walkTokens: async t => { if (t.type === 'text') t.text = await Promise.resolve(t.text.trim() + '!'); } }).parse('late'));
