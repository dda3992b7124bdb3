"""What to plan, and within which limits."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meritorder.domain import Tier
from meritorder.errors import ConfigError
from meritorder.planner.solve.search import Effort
from meritorder.study.fleet.options import Options
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE

HARDWARE: Final = ("a100", "h100", "h200", "b200", "l40s")
"""What a plan chooses from if nobody says."""

# Shortest span from which each length of slot is taken, longest first.
_SLOTS: Final = (
    (15 * SECONDS_PER_DAY, SECONDS_PER_HOUR),
    (6 * SECONDS_PER_HOUR, 15 * SECONDS_PER_MINUTE),
    (20 * SECONDS_PER_MINUTE, 5 * SECONDS_PER_MINUTE),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions(Options):
    """What to plan, beside what `compare` takes.

    Args:
        slot_s: Length of a slot; None takes one that suits the span.
        terms: Longest terms that may be committed to, such as "1y"; empty commits to nothing.
        tiers: Tiers of token APIs that work may be bought at; real-time work only at "standard" and "priority".
        tokens_per_s: Rate limit of each token API; None is without one.
        spot_machines: MachinePayment of each spot offer that can be had at once.
        machines: Most machines of each offer on demand; None is without a limit.
        have: File of commitments and machines held already.
        bills: Bills whose prices and running commitments are taken, before the catalog's.
        carbon: File of the carbon intensity of power by region and hour; None puts no price on carbon.
        carbon_usd_per_tonne: That price.
        backtest: Choose commitments on this share of the trace, and pay on the rest.
        effort: When to stop searching.
        scale: By what the trace was multiplied; only the plan's record holds it.
        start: Where the window that was read begins; likewise.
        end: Where it ends.
    """

    hardware: tuple[str, ...] = HARDWARE
    slot_s: float | None = None
    terms: tuple[str, ...] = ("1y",)
    tiers: tuple[str, ...] = ()
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
    start: str | None = None
    end: str | None = None

    def slot_for(self, span_s: float) -> float:
        """Return the length of a slot."""
        if self.slot_s is not None:
            return self.slot_s
        return next((slot_s for least_s, slot_s in _SLOTS if span_s >= least_s), SECONDS_PER_MINUTE)


def terms_of(text: str) -> tuple[str, ...]:
    """Read the longest term to commit to.

    Raises:
        ConfigError: It is none that is known.
    """
    terms = {"none": (), "1y": ("1y",), "3y": ("1y", "3y")}
    if text not in terms:
        raise ConfigError(f"unknown term {text!r}", where="--commit", fix=f"write {', '.join(terms)}")
    return terms[text]


def tiers_of(named: tuple[str, ...]) -> tuple[str, ...]:
    """Check the tiers of token APIs.

    Raises:
        ConfigError: One is not known.
    """
    known = [tier.value for tier in Tier]
    strange = next((name for name in named if name not in known), None)
    if strange:
        raise ConfigError(f"unknown tier {strange!r}", where="--tokens", fix=f"write {', '.join(known)}")
    return named
