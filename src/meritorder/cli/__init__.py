"""The command line: parse, study, print.

One module per command or pair of commands; `options.py` declares the options that they share, `parsing.py` parses their
values. A user error is one line on standard error and exit code 2; no file is left half-written.
"""

import os
import sys
from importlib.metadata import version as version_of
from typing import Annotated, Final, NoReturn, cast

import typer

from meritorder.cli.audit import audit
from meritorder.cli.calibrate import calibrate, shadow, watch
from meritorder.cli.compare import compare, demo
from meritorder.cli.estimate import estimate
from meritorder.cli.export import export
from meritorder.cli.gateway.batch import batch, status
from meritorder.cli.gateway.keys import keys
from meritorder.cli.gateway.ledger import ledger
from meritorder.cli.gateway.serve import autopilot, proxy, serve
from meritorder.cli.gateway.store import store
from meritorder.cli.gateway.ui import mcp, ui
from meritorder.cli.inspect import inspect
from meritorder.cli.plan import plan, simulate
from meritorder.cli.prices import cache, prices
from meritorder.cli.run import run
from meritorder.cli.sweep import sweep
from meritorder.errors import MeritorderError, missing_extra

app: Final = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Serve every LLM request from the cheapest capacity that still meets its deadline.",
)

# The base class of usage errors, in whichever module this version of typer keeps click.
_UsageError: Final = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])
_INTERRUPTED: Final = 130

for _command in (estimate, compare, plan, simulate, export, demo, inspect, prices, cache, audit, calibrate, sweep):
    app.command()(_command)
for _serving in (serve, proxy, ui, mcp, keys, batch, run, status, ledger, store, watch, shadow, autopilot):
    app.command()(_serving)


def main() -> None:
    """Run the command line."""
    try:
        code = _run()
    except MeritorderError as error:
        _refuse(f"{error}\n\n{error.lines}" if error.lines else str(error))
    except _UsageError as error:
        command = error.ctx.command_path if error.ctx else "meritorder"
        message = " ".join(error.format_message().split()).removesuffix(".")
        _refuse(f"{message}; see `{command} --help`")
    except ModuleNotFoundError as error:
        if (missing := missing_extra(error.name or "")) is None:
            raise
        _refuse(str(missing))
    except BrokenPipeError:
        _close_stdout()
        code = 0
    except OSError as error:
        _close_stdout()
        _refuse(f"{error.filename or 'standard output'}: {error.strerror or error}")
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        sys.stderr.write("interrupted; nothing was written\n")
    sys.exit(code)


def _run() -> int | None:
    """Run the command; return its exit code.

    Raises:
        BrokenPipeError: Nothing reads standard output any more.
    """
    try:
        code = app(prog_name="meritorder", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as ended:
        # So typer and rich end on a closed pipe.
        if isinstance(ended.__context__, BrokenPipeError):
            raise BrokenPipeError from None
        raise
    return cast("int | None", code)


def _refuse(line: str) -> NoReturn:
    sys.stderr.write(f"meritorder: {line}\n")
    sys.exit(2)


def _close_stdout() -> None:
    """Drop what is still buffered for standard output, which the interpreter would try to write again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
