// yargs: commands, options of all types, checks, middleware, help and failures, without leaving the process.
const yargs = require('yargs/yargs');

const make = () => yargs().scriptName('tool').version('1.2.3').locale('en').exitProcess(false).wrap(80)
  .option('verbose', { alias: 'v', count: true, describe: 'more output', global: true })
  .command('add <numbers..>', 'adds numbers', y => y.positional('numbers', { type: 'number' }).option('start', { type: 'number', default: 0 }).option('base', { choices: [2, 10, 16], default: 10 }), argv => console.log(argv.numbers.reduce((a, b) => a + b, argv.start).toString(argv.base), argv.verbose))
  .command(['copy <from> [to]', 'cp'], 'copies', y => y.option('mode', { demandOption: true, string: true }).option('links', { boolean: true, default: true }).option('x', { array: true }).option('kv', { coerce: text => Object.fromEntries([text.split('=')]) }).implies('force', 'why').conflicts('loud', 'quiet').check(argv => argv.from !== argv.to || 'same file'), argv => { const { $0, _, ...rest } = argv; console.log(_, JSON.stringify(rest)); })
  .command('later', 'async', {}, async () => { await null; throw new Error('late failure'); })
  .middleware(argv => { argv.seen = true; })
  .demandCommand(1, 'a command is needed').strict().recommendCommands().epilogue('That is all.').example('$0 add 1 2', 'three')
  .fail((message, error) => { throw new Error(`failed: ${message ?? error.message}`); });

(async () => {
  for (const line of ['add 10 20 --start=1.5', '-vv add 255 --base 16', 'copy a --mode m', 'cp a b --mode 007 --no-links -x 1 2 --kv a=b', 'copy a', 'copy a a --mode x', 'copy a --mode x --force', 'copy a --mode x --loud --quiet', 'ad 1', 'add', 'add 1 --base 3', 'add 1 --unknown', '', 'later', '--help', 'copy --help', '--version']) {
    try {
      await make().parse(line, (error, argv, output) => { if (output) console.log(output); });
    } catch (error) {
      console.log(JSON.stringify(line), '=>', error.message);
    }
  }
  console.log(yargs(['--a.b', '1', '--no-c', '-d5', '--e', 'x', '--e', 'y', '--', 'rest']).parserConfiguration({ 'populate--': true }).help(false).version(false).argv);
})();
