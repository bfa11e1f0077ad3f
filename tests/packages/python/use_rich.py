"""rich: tables, trees, panels, markup, syntax and JSON on a console of a fixed size, plain and in colours."""
import io

from rich.columns import Columns
from rich.console import Console
from rich.json import JSON
from rich.markdown import Markdown
from rich.panel import Panel
from rich.pretty import pretty_repr
from rich.progress import BarColumn, Progress, TextColumn
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

for color in (None, "256"):
    out = io.StringIO()
    console = Console(file=out, width=60, height=20, color_system=color, force_terminal=color is not None, legacy_windows=False, _environ={})
    table = Table(title="Tools", show_footer=True)
    table.add_column("Name", footer="total", style="cyan")
    table.add_column("Size", justify="right", footer="19")
    table.add_row("awk", "12")
    table.add_row("[bold]sed[/] 日本", "7", style="on blue")
    console.print(table, Panel("centre [red]me[/red] :smile:", title="P", width=30), sep="\n")
    tree = Tree("root")
    tree.add("a").add("[italic]b[/italic]")
    tree.add(Text("c", style="underline"))
    console.print(tree, Columns(["one", "two", "three"], equal=True), sep="\n")
    console.print(Markdown("# H\n\n- item `code`\n\n> quote **b**\n"))
    console.print(Syntax("def f(x):\n    return x + 1", "python", line_numbers=True, theme="ansi_dark"))
    console.print(JSON('{"a": [1, true, null, "x"]}'))
    console.rule("[green]end")
    console.print("a long line " * 8, justify="right", style="dim", highlight=False)
    print(out.getvalue() if color is None else ascii(out.getvalue()))
print(Text.from_markup("[b]x[/b] \\[no] [i u]y[/]").markup, Text("wrap these words please").wrap(Console(width=10), 10))
print(pretty_repr({"key": list(range(30)), "nested": {"a": ("b", None)}}, max_width=50, max_length=8))
out = io.StringIO()
with Progress(TextColumn("{task.description}"), BarColumn(10), TextColumn("{task.percentage:.0f}%"), console=Console(file=out, width=40), auto_refresh=False) as progress:
    task = progress.add_task("work", total=4)
    progress.advance(task, 3)
print(out.getvalue().strip())
