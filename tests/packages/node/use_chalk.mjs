// chalk: styles nested, combined and turned off, at each level of colour.
import chalk, { Chalk, chalkStderr, supportsColor } from 'chalk';

for (const level of [0, 1, 2, 3]) {
  const c = new Chalk({ level });
  console.log(JSON.stringify([
    c.red('red'), c.bold.underline.bgBlue('all'), c.green(`out ${c.yellow('in')} out`), c.hex('#ff8800')('hex'), c.rgb(10, 200, 30).inverse('rgb'),
    c.bgAnsi256(194)('256'), c.blue('two\nlines'), c.visible('seen'), c.dim(c.dim('twice'), 5, true), c.red(''),
  ]));
}
const forced = new Chalk({ level: 1 });
const warn = forced.bold.keyword ? forced.bold : forced.bold.magenta;
console.log(JSON.stringify(warn('x') + warn.italic('y')), chalk.level, supportsColor, typeof chalkStderr);
console.log(JSON.stringify(forced.strikethrough.overline(['a', 'b'].join(forced.reset('-')))));
try {
  new Chalk({ level: 10 });
} catch (error) {
  console.log(error.message);
}
