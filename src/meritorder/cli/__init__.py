"""The command line: parse, study, print.

One module per command or pair of commands; `options.py` declares the options that they share, `parsing.py` parses their
values. A user error is one line on standard error and exit code 2; no file is left half-written.
"""

import sys
from importlib.metadata import version as version_of
from typing import Annotated, Final, cast

import typer

from meritorder.cli.audit import audit
from meritorder.cli.batch import batch, ledger, status
from meritorder.cli.calibrate import calibrate
from meritorder.cli.compare import compare, demo
from meritorder.cli.inspect import inspect
from meritorder.cli.plan import plan, simulate
from meritorder.cli.prices import prices
from meritorder.cli.serve import keys, serve
from meritorder.cli.sweep import sweep
from meritorder.errors import MeritorderError

app: Final = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Serve every LLM request from the cheapest capacity that still meets its deadline.",
)

# The base class of usage errors, in whichever module this version of typer keeps click.
_UsageError: Final = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])
_INTERRUPTED: Final = 130

for _command in (compare, plan, simulate, demo, inspect, prices, audit, calibrate, sweep):
    app.command()(_command)
for _serving in (serve, keys, batch, status, ledger):
    app.command()(_serving)


def main() -> None:
    """Run the command line."""
    try:
        code = app(prog_name="meritorder", standalone_mode=False)
    except MeritorderError as error:
        sys.stderr.write(f"meritorder: {error}\n")
        sys.exit(2)
    except _UsageError as error:
        command = error.ctx.command_path if error.ctx else "meritorder"
        message = " ".join(error.format_message().split()).removesuffix(".")
        sys.stderr.write(f"meritorder: {message}; see `{command} --help`\n")
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        sys.stderr.write("interrupted; nothing was written\n")
    sys.exit(code)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"meritorder {version_of('meritorder')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
    else:
        return
    raise typer.Exit
