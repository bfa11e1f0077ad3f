"""click: a command line with groups, options, arguments and its errors, run by the test runner that click brings."""
import tempfile

import click
from click.testing import CliRunner


@click.group()
@click.option("--verbose", "-v", count=True, help="More output.")
@click.version_option("1.2.3", prog_name="tool")
@click.pass_context
def cli(ctx, verbose):
    """A tool with commands."""
    ctx.obj = verbose


@cli.command()
@click.argument("numbers", nargs=-1, type=click.INT, required=True)
@click.option("--by", type=click.Choice(["sum", "max"]), default="sum", show_default=True, help="How.")
@click.pass_obj
def reduce(verbose, numbers, by):
    """Makes one number of NUMBERS."""
    click.echo(f"verbose={verbose} {by}={(sum if by == 'sum' else max)(numbers)}")


@cli.command()
@click.option("--name", prompt="Your name")
@click.option("--size", type=click.IntRange(1, 10), envvar="TOOL_SIZE", default=3)
@click.argument("source", type=click.File("r"))
def greet(name, size, source):
    """Greets."""
    click.secho(f"Hello {name}! " + source.read().strip()[:size], fg="green")
    if click.confirm("Again?"):
        raise click.UsageError("once is enough")


runner = CliRunner()
for args, text in [
    (["--help"], None), (["reduce", "--help"], None), (["-vv", "reduce", "3", "4", "5"], None),
    (["reduce", "--by", "max", "3", "9"], None), (["reduce", "x"], None), (["reduce", "--by", "min", "1"], None),
    (["greet", "-"], "Ada\n"), (["greet", "--name", "Bo", "--size", "11", "-"], "x"), (["nothing"], None), (["--version"], None),
]:
    result = runner.invoke(cli, args, input=text)
    print(args, result.exit_code, result.output, sep="\n")
with tempfile.NamedTemporaryFile("w") as file:
    file.write("contents of the file")
    file.flush()
    result = runner.invoke(cli, ["greet", file.name], input="Ada\ny\n", env={"TOOL_SIZE": "8"}, color=True)
    print(repr(result.output), result.exit_code)
