"""export: a plan in the form in which others run it."""

from pathlib import Path
from typing import Annotated

import typer

from meritorder.deadlines import Instant, parse_deadline
from meritorder.errors import ConfigError

_TARGETS = ("keda", "kubernetes", "skypilot", "csv")


def export(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="Plan that `meritorder plan --json` wrote.")],
    to: Annotated[str, typer.Option("--to", metavar="|".join(_TARGETS), help="Who runs it.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder for the files.")] = Path("export"),
    start: Annotated[
        str, typer.Option("--start", metavar="TIME", help="Start of the first slot, ISO 8601; by default the trace's.")
    ] = "",
) -> None:
    """Write a plan as manifests of KEDA or Kubernetes, as services of SkyPilot, or as tables.

    Commitments are written to commitments.csv, with the page where each is bought. For example:

    meritorder export plan.json --to keda --out manifests
    """
    from meritorder.records import planfile
    from meritorder.report import exports, files

    if to not in exports.TARGETS:
        raise ConfigError(f"unknown target {to!r}", where="--to", fix=f"write one of {', '.join(exports.TARGETS)}")
    plan_read = planfile.read_plan(plan)
    contents = exports.export(plan_read, to, _instant_s(start) if start else None)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be created", where=str(out), fix="name another folder") from None
    for name, text in contents.items():
        files.write_text(out / name, text)
        typer.echo(f"{out / name}")


def _instant_s(text: str) -> float:
    instant = parse_deadline(text)
    if not isinstance(instant, Instant):
        raise ConfigError(f"{text!r} is not a time", where="--start", fix="write 2026-11-30T00:00:00Z")
    return instant.instant_s
