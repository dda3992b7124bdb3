"""What commands do with what they are given: read it, or say in one line what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.status import Status

from meritorder.domain import Slo
from meritorder.errors import MeritorderError, WorkloadsError
from meritorder.units import parse_duration_s

if TYPE_CHECKING:
    from meritorder.sim.pools import Startup

SLO_TEXT: Final = "ttft=2s,tpot=100ms,attainment=99%"


def read(
    sources: list[str],
    format_: str | None,
    columns: str | None,
    scale: float,
    start: str | None,
    end: str | None,
    *,
    strict: bool,
    seed: int,
) -> Any:
    """Read a trace, as all commands do."""
    from meritorder import traces

    return traces.read(
        sources,
        format=format_,
        columns=pairs(columns, "--columns") if columns else None,
        scale=scale,
        seed=seed,
        start=start,
        end=end,
        strict=strict,
    )


@contextmanager
def progress() -> Iterator[Status]:
    """Show what is being done, on standard error, and only to a person."""
    with Status("", console=Console(stderr=True)) as status:
        yield status


def names(text: str) -> tuple[str, ...]:
    """Read `a,b,c`."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def pairs(text: str, option: str) -> dict[str, str]:
    """Read `field=value,field=value`."""
    parts = [part.split("=", 1) for part in text.split(",")]
    if any(len(part) == 1 for part in parts):
        raise MeritorderError(f"{text!r} is not field=value,…", where=option)
    return {field.strip(): value.strip() for field, value in parts}


def duration_s(text: str, option: str, *, zero: bool = False) -> float:
    """Read `30m` or `4h`."""
    seconds = parse_duration_s(text)
    if seconds is None or (seconds <= 0 and not zero):
        raise WorkloadsError(f"{text!r} is not a duration", where=option, fix="write 90s, 30m, 4h or 2d")
    return seconds


def share_of(text: str, option: str) -> float:
    """Read `99%` or `0.99`."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise WorkloadsError(f"{text!r} is not a share", where=option, fix="write 99% or 0.99") from None


def slo_of(text: str) -> Slo | None:
    """Read `ttft=2s,tpot=100ms,attainment=99%`; what is left out keeps its default. None if nothing is said."""
    from meritorder.study.fleet.options import DEFAULT_SLO

    if not text:
        return None
    given = pairs(text, "--slo")
    strange = sorted(set(given) - {"ttft", "tpot", "attainment"})
    if strange:
        raise WorkloadsError(f"unknown {strange[0]!r}", where="--slo", fix=f"write {SLO_TEXT}")
    times = {name: duration_s(given[name], f"--slo {name}") for name in ("ttft", "tpot") if name in given}
    attainment = share_of(given.get("attainment", f"{DEFAULT_SLO.attainment}"), "--slo attainment")
    ttft_s, tpot_s = times.get("ttft", DEFAULT_SLO.ttft_s), times.get("tpot", DEFAULT_SLO.tpot_s)
    return Slo(ttft_s=ttft_s, tpot_s=tpot_s, attainment=attainment)


def startup_of(text: str) -> Startup:
    """Read `5m`, or its parts: `machine=60s,image=60s,weights=2m,warmup=60s`. All but the first are paid for."""
    from meritorder.sim.pools import Startup

    if "=" not in text:
        return Startup.of(duration_s(text, "--startup", zero=True))
    given = pairs(text, "--startup")
    strange = sorted(set(given) - {"machine", "image", "weights", "warmup"})
    if strange:
        raise WorkloadsError(
            f"unknown {strange[0]!r}", where="--startup", fix="write machine=60s,image=60s,weights=2m,warmup=60s"
        )
    return Startup(**{f"{part}_s": duration_s(value, f"--startup {part}", zero=True) for part, value in given.items()})
