const u = new URL('https://user:pa%20ss@例え.jp:8080/a/../b c?x=1&y=é#frag'); console.log(u, u.href, u.origin);
for (const [i, b] of [['../x', 'http://a.b/c/d/e'], ['//h/p', 'https://q'], ['?q', 'http://a/b?c#d'], ['file:///a/./b/../c'], ['data:text/plain,hi'], ['http://[::1]:80/'], ['http://1.2.3/'], ['HTTP://EXAMPLE.com:80'], ['blob:https://a.com/x'], ['mailto:a@b']]) console.log(new URL(i, b).href, new URL(i, b).host, new URL(i, b).pathname);
for (const bad of ['nope', 'http://', 'http://a b', 'http://[::1', '//x']) try { new URL(bad); } catch (e) { console.log(e.code, e.message, e.input); }
u.port = '99'; u.hash = ''; u.search = '?k=v'; u.pathname = '/p q'; u.hostname = 'h.com'; u.username = ''; u.password = ''; u.protocol = 'http'; console.log(u.href);
const p = new URLSearchParams('a=1&b=2&a=3&c=%20+'); p.append('d', 'é&'); p.delete('b'); p.sort(); console.log(p, p.toString(), p.getAll('a'), [...p], p.has('c'));
const url = require('url'); console.log(url.parse('http://u:p@host:80/p/a?q=1#h'), url.format({ protocol: 'http', host: 'a.com', pathname: '/x', query: { a: 1 } }), url.resolve('/one/two', 'three'));
console.log(url.fileURLToPath('file:///a%20b/c'), url.pathToFileURL('/a b/#c').href, url.urlToHttpOptions(new URL('http://a:b@c/d?e')).path, url.domainToASCII('español.com'), url.domainToUnicode('xn--espaol-zwa.com'));
console.log(require('querystring').parse('a=1&b=2&a=3&c=%E2%82%AC'), require('querystring').stringify({ a: [1, 2], b: 'é' }), URL.canParse('x:'), require('punycode').encode('mañana'));
u.searchParams.append('z', '1'); console.log(u.search, JSON.stringify({ u }), require('path').relative('/a/b/c', '/a/d'), require('path').parse('/x/y.tar.gz'), require('path').win32.join('a', 'b'));
