"""Parse the values of options, and read the trace; a mistake is one clear line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.status import Status

from meritorder.cli.options import SLO_TEXT
from meritorder.domain import PRECISIONS, Slo
from meritorder.errors import ConfigError, MeritorderError, WorkloadsError
from meritorder.units import ExchangeRate, parse_duration_s, parse_exchange_rate

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from meritorder.sim.pools import Startup


def read_trace(
    sources: list[str],
    format_: str | None,
    columns: str | None,
    scale: float,
    start: str | None,
    end: str | None,
    *,
    strict: bool,
    seed: int,
    aggregate: bool = False,
) -> Any:
    """Read a trace with the options that commands share."""
    from meritorder.traces import read

    return read.read_trace(
        sources,
        format=format_,
        columns=parse_pairs(columns, "--columns") if columns else None,
        scale=scale,
        seed=seed,
        start=start,
        end=end,
        strict=strict,
        aggregate=aggregate,
    )


def catalog_sources(files: Sequence[Path] | None, rates: Sequence[str] | None) -> tuple[Path | ExchangeRate, ...]:
    """Return the files of `--catalog`, after the rates of `--rate` that convert the prices in them."""
    return (*parse_rates(rates), *(files or ()))


def parse_rates(texts: Sequence[str] | None) -> list[ExchangeRate]:
    """Return the values of `--rate`."""
    rates = {text: parse_exchange_rate(text) for text in texts or ()}
    wrong = [text for text, rate in rates.items() if rate is None]
    if wrong:
        raise ConfigError(f"{wrong[0]!r} is not CURRENCY=USD", where="--rate", fix="write EUR=1.08")
    return [rate for rate in rates.values() if rate]


# A comma that an even number of quotes follows is outside quotes.
_COMMA: Final = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')


@contextmanager
def progress() -> Iterator[Status]:
    """Show the current step on standard error, if it is a terminal; as lines if MERITORDER_PROGRESS is `lines`."""
    kind = _Lines if os.environ.get("MERITORDER_PROGRESS") == "lines" else Status
    with kind("", console=Console(stderr=True)) as status:
        yield status


class _Lines(Status):
    """A status that writes each step as a line."""

    def update(self, status: RenderableType | None = None, **more: Any) -> None:
        super().update(status, **more)
        sys.stderr.write(f"{status}\n")
        sys.stderr.flush()


def parse_names(text: str) -> tuple[str, ...]:
    """Parse `a,b,c`."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_precisions(text: str) -> tuple[str, ...]:
    """Parse `fp8,nvfp4`.

    Raises:
        ConfigError: A precision is unknown.
    """
    names = parse_names(text)
    if unknown := [name for name in names if name not in PRECISIONS]:
        raise ConfigError(
            f"unknown precision {unknown[0]!r}", where="--allow-precision", fix=f"one of {', '.join(PRECISIONS)}"
        )
    return names


def parse_pairs(text: str, option: str) -> dict[str, str]:
    """Parse `field=value,field=value`; a comma or a sign between double quotes is part of the value."""
    parts = [part.split("=", 1) for part in _COMMA.split(text)]
    if any(len(part) == 1 for part in parts):
        raise MeritorderError(f"{text!r} is not field=value,…", where=option)
    return {field.strip(): value.strip() for field, value in parts}


def parse_duration(text: str, option: str, *, zero: bool = False) -> float:
    """Parse `30m` or `4h`."""
    seconds = parse_duration_s(text)
    if seconds is None or (seconds <= 0 and not zero):
        raise WorkloadsError(f"{text!r} is not a duration", where=option, fix="write 90s, 30m, 4h or 2d")
    return seconds


def parse_share(text: str, option: str) -> float:
    """Parse `99%` or `0.99`."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise WorkloadsError(f"{text!r} is not a share", where=option, fix="write 99% or 0.99") from None


def parse_slo(text: str) -> Slo | None:
    """Parse `ttft=2s,tpot=100ms,attainment=99%`; a part left out keeps its default. Return None for an empty text."""
    from meritorder.study.fleet.options import DEFAULT_SLO

    if not text:
        return None
    values = parse_pairs(text, "--slo")
    unknown = sorted(set(values) - {"ttft", "tpot", "attainment"})
    if unknown:
        raise WorkloadsError(f"unknown {unknown[0]!r}", where="--slo", fix=f"write {SLO_TEXT}")
    times = {name: parse_duration(values[name], f"--slo {name}") for name in ("ttft", "tpot") if name in values}
    attainment = parse_share(values.get("attainment", f"{DEFAULT_SLO.attainment}"), "--slo attainment")
    ttft_s, tpot_s = times.get("ttft", DEFAULT_SLO.ttft_s), times.get("tpot", DEFAULT_SLO.tpot_s)
    return Slo(ttft_s=ttft_s, tpot_s=tpot_s, attainment=attainment)


def parse_startup(text: str) -> Startup:
    """Parse `5m`, or its parts: `machine=60s,image=60s,weights=2m,warmup=60s`. All parts but the first are paid for."""
    from meritorder.sim.pools import Startup

    if "=" not in text:
        return Startup.with_total(parse_duration(text, "--startup", zero=True))
    values = parse_pairs(text, "--startup")
    unknown = sorted(set(values) - {"machine", "image", "weights", "warmup"})
    if unknown:
        raise WorkloadsError(
            f"unknown {unknown[0]!r}", where="--startup", fix="write machine=60s,image=60s,weights=2m,warmup=60s"
        )
    return Startup(
        **{f"{part}_s": parse_duration(value, f"--startup {part}", zero=True) for part, value in values.items()}
    )
