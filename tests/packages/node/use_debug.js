// debug: namespaces that are switched on and off by patterns, formatters, and a log of our own.
process.env.DEBUG_COLORS = 'no';
const debug = require('debug');

debug.inspectOpts.hideDate = true;
debug.formatters.h = buffer => buffer.toString('hex');
debug.formatters.up = text => text.toUpperCase();
const lines = [];
debug.log = (...parts) => lines.push(require('util').format(...parts).replace(/\+\d+m?s/, '+N'));
debug.enable('tool:*,-tool:noisy,other');
const part = debug('tool:part');
const noisy = debug('tool:noisy');
part('plain %s %d %j', 'text', 42, { a: [1] });
part('own %h %up %% %o', Buffer.from('hi'), 'loud', { deep: { x: [1, 2, { y: null }] } });
part({ object: 'first' }, 'rest', 1);
part(new Error('failed').message);
noisy('never');
part.extend('sub')('deeper');
debug('other')('two\nlines');
const was = debug.disable();
part('silent');
noisy.enabled = true;
noisy('forced');
console.log(lines.join('\n'));
console.log(was, part.enabled, noisy.enabled, debug.enabled('tool:x'), debug.selectColor('tool') === debug.selectColor('tool'), debug.humanize(3600000), debug.coerce(new Error('x')).startsWith('Error: x'));
