"""The options of a plan."""

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meritorder.domain import Tier
from meritorder.errors import ConfigError
from meritorder.inputs.arguments import COUNT, NOT_NEGATIVE, POSITIVE, Range, check_ranges
from meritorder.planner.solve.highs import Effort
from meritorder.study.fleet.options import CompareOptions
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE, parse_duration_s

HARDWARE: Final = ("a100", "h100", "h200", "b200", "l40s")
"""The hardware that a plan chooses from by default."""

MIN_COMMITMENT_EVIDENCE_S: Final = 14 * SECONDS_PER_DAY
"""A trace shorter than this is no reason to commit to a year, unless it is asked for."""

# Shortest span for each slot length, longest first.
_SLOTS: Final = (
    (15 * SECONDS_PER_DAY, SECONDS_PER_HOUR),
    (6 * SECONDS_PER_HOUR, 15 * SECONDS_PER_MINUTE),
    (20 * SECONDS_PER_MINUTE, 5 * SECONDS_PER_MINUTE),
)


TERM_YEARS: Final = {"1y": 1.0, "3y": 3.0}
"""Length of each term that may be committed to."""

REALTIME_TIERS: Final = frozenset({Tier.STANDARD, Tier.PRIORITY})
"""Tiers whose answers come as soon as real-time work needs them, or so it is assumed."""

_UNASKED_TIERS: Final = frozenset({Tier.STANDARD, Tier.FLEX, Tier.BATCH})
_NO_TIER: Final = "none"

# A forecast further ahead rests on nothing.
_MAX_COMING_S: Final = 28 * SECONDS_PER_DAY

_RANGES: Final = {
    "tokens_per_s": POSITIVE,
    "spot_machines": COUNT,
    "machines": COUNT,
    "carbon_usd_per_tonne": NOT_NEGATIVE,
    "backtest": Range(0.0, 1.0, above=True),
    "scale": POSITIVE,
    "coming_days": NOT_NEGATIVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions(CompareOptions):
    """The options of a plan, in addition to those of a comparison.

    Args:
        slot_s: Length of a slot; None sets it by the span.
        terms: Terms that may be committed to, such as "1y"; empty for no commitments; None for a year if the trace is
            long enough to tell.
        tiers: Tiers of token APIs that may be bought; real-time work only at "standard" and "priority". None for
            deferrable work alone, at every tier but "priority".
        config: Configuration of the gateway whose venues alone sell tokens; None for every provider.
        tokens_per_s: Rate limit of each token API; None for no limit.
        spot_machines: Machines of each spot offer that are available at once.
        machines: Maximum machines of each on-demand offer; None for no limit.
        have: File of commitments and machines already held.
        bills: Bills whose prices replace those of the catalog, and whose running commitments are held.
        carbon: File of the carbon intensity of power by region and hour; None for no carbon price.
        carbon_usd_per_tonne: Carbon price.
        backtest: Share of the trace on which commitments are chosen; the backtest pays for them on the rest.
        effort: Limits of the search.
        scale: Factor on the request rate that the trace was read with; recorded in the plan only.
        hindsight: Plan the trace itself alone, without judging a policy on its days.
        holidays: Dates that are forecast as Sundays, such as 2026-12-25.
        coming_days: Days after the trace to plan.
        start: Start of the window that was read; likewise.
        end: End of the window; likewise.
    """

    hardware: tuple[str, ...] = HARDWARE
    slot_s: float | None = None
    terms: tuple[str, ...] | None = None
    tiers: tuple[str, ...] | None = None
    config: Path | None = None
    tokens_per_s: float | None = None
    spot_machines: int = 8
    machines: int | None = None
    have: Path | None = None
    bills: tuple[str, ...] = ()
    carbon: Path | None = None
    carbon_usd_per_tonne: float = 0.0
    backtest: float | None = None
    effort: Effort = field(default_factory=Effort)
    scale: float = 1.0
    hindsight: bool = False
    holidays: frozenset[str] = frozenset()
    coming_days: int = 0
    start: str | None = None
    end: str | None = None

    def __post_init__(self) -> None:
        CompareOptions.__post_init__(self)  # `super()` is of the class before it had slots
        check_ranges(self, _RANGES)
        if unknown := [term for term in self.terms or () if term not in TERM_YEARS]:
            raise ConfigError(f"unknown term {unknown[0]!r}", where="terms", fix=f"one of {', '.join(TERM_YEARS)}")
        if unknown := [tier for tier in self.tiers or () if tier not in set(Tier)]:
            raise ConfigError(f"unknown tier {unknown[0]!r}", where="tiers", fix=f"one of {', '.join(Tier)}")

    @property
    def deferrable_tiers(self) -> frozenset[Tier]:
        """Tiers at which deferrable work may be bought."""
        return _UNASKED_TIERS if self.tiers is None else frozenset(map(Tier, self.tiers))

    @property
    def realtime_tiers(self) -> frozenset[Tier]:
        """Tiers at which real-time work may be bought."""
        return REALTIME_TIERS & frozenset(map(Tier, self.tiers or ()))

    def terms_for(self, span_s: float) -> tuple[str, ...]:
        """Return the terms that may be committed to: by default none on the evidence of less than two weeks."""
        if self.terms is not None:
            return self.terms
        return ("1y",) if span_s >= MIN_COMMITMENT_EVIDENCE_S else ()

    def slot_for(self, span_s: float) -> float:
        """Return the length of a slot."""
        if self.slot_s is not None:
            return self.slot_s
        return next((slot_s for min_span_s, slot_s in _SLOTS if span_s >= min_span_s), SECONDS_PER_MINUTE)


def parse_terms(text: str) -> tuple[str, ...] | None:
    """Return the terms up to the longest one to commit to; None if the trace decides.

    Raises:
        ConfigError: The term is unknown.
    """
    terms: dict[str, tuple[str, ...] | None] = {"auto": None, "none": (), "1y": ("1y",), "3y": ("1y", "3y")}
    if text not in terms:
        raise ConfigError(f"unknown term {text!r}", where="--commit", fix=f"write {', '.join(terms)}")
    return terms[text]


def parse_dates(path: Path) -> frozenset[str]:
    """Return the dates of a file, one a line.

    Raises:
        ConfigError: The file cannot be read, or a line is no date.
    """
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", where=str(path)) from None
    for line in lines:
        try:
            dt.date.fromisoformat(line)
        except ValueError:
            raise ConfigError(f"{line!r} is no date", where=str(path), fix="write one a line: 2026-12-25") from None
    return frozenset(lines)


def parse_days(text: str) -> int:
    """Return a number of days, such as 7 for `7d` or `1w`.

    Raises:
        ConfigError: It is not a whole number of days.
    """
    seconds = parse_duration_s(text)
    if not seconds or seconds % SECONDS_PER_DAY or seconds > _MAX_COMING_S:
        raise ConfigError(f"{text!r} is no number of days up to 28", where="--for", fix="write 7d or 2w")
    return round(seconds / SECONDS_PER_DAY)


def parse_tiers(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the tiers of token APIs if all are known; "none" buys no tokens, and no names leave it to the plan.

    Raises:
        ConfigError: A tier is unknown.
    """
    if not names or names == (_NO_TIER,):
        return () if names else None
    known = [tier.value for tier in Tier]
    unknown = next((name for name in names if name not in known), None)
    if unknown:
        raise ConfigError(f"unknown tier {unknown!r}", where="--tokens", fix=f"write {', '.join(known)}, or {_NO_TIER}")
    return names
