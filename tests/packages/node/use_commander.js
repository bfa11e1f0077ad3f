// commander: options, arguments, subcommands, help and errors, without leaving the process.
const { Argument, Command, InvalidArgumentError, Option } = require('commander');

function program() {
  const p = new Command('tool').description('A tool with commands').version('1.2.3').exitOverride();
  p.configureOutput({ writeOut: text => console.log('out:', text.trimEnd()), writeErr: text => console.log('err:', text.trimEnd()), getOutHelpWidth: () => 80 });
  p.option('-v, --verbose', 'more output', (value, previous) => previous + 1, 0);
  p.command('add')
    .description('adds numbers')
    .argument('<numbers...>', 'what to add', (text, list = []) => {
      if (Number.isNaN(Number(text))) throw new InvalidArgumentError('Not a number.');
      return [...list, Number(text)];
    })
    .option('-s, --start <n>', 'where to start', parseFloat, 0)
    .addOption(new Option('--base <b>', 'base').choices(['2', '10', '16']).default('10').env('TOOL_BASE'))
    .action((numbers, options, command) => console.log(numbers.reduce((a, b) => a + b, options.start).toString(options.base), options, command.optsWithGlobals()));
  p.command('copy').addArgument(new Argument('<from>')).addArgument(new Argument('[to]').default('here')).requiredOption('--mode <m>').option('--no-links').option('-x [value]', 'optional')
    .addOption(new Option('--quiet').conflicts('loud')).option('--loud').action((from, to, options) => console.log(from, to, options));
  p.hook('preAction', (a, command) => console.log('before', command.name()));
  return p;
}
process.env.TOOL_BASE = '16';
for (const line of ['add 10 20 -s 1.5 --base=10', '-v -v add 255', 'add one', 'add', 'copy a --mode m', 'copy a b --mode=x --no-links -x', 'copy a', 'copy a --mode x --quiet --loud', '--help', 'help copy', '--version', 'ad 1', 'copy a b c --mode 1', 'add 1 --base 3']) {
  try {
    program().parse(line.split(' '), { from: 'user' });
  } catch (error) {
    console.log(line, '=>', error.code, error.exitCode);
  }
}
