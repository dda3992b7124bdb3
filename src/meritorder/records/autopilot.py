"""Decisions of the autopilot: what it saw, what it weighed, what it did and why; one line of JSON each."""

from typing import Final

import msgspec

SCHEMA: Final = "meritorder.decision/1"

APPLIED: Final = "applied"
SUGGESTED: Final = "suggested"
OBSERVED: Final = "observed"
KEPT: Final = "kept"
STOPPED: Final = "stopped"
REVERTED: Final = "reverted"
"""Outcomes: a plan was written, proposed or only noted; the plan in force stays; applying stopped; a plan came back."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One difference to the plan in force."""

    what: str
    before: str
    after: str


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that was weighed: its outcome on the days that all of them were simulated on.

    `machines` is the most machines that it has more or fewer than the plan in force in any slot, `at_risk_usd_per_day`
    the most that its machines may add to the cost of a day, whatever the demand.
    """

    name: str
    usd_per_day: float
    kept: bool
    slo_attainment: float | None = None
    deadlines_missed: int = 0
    machines: int = 0
    at_risk_usd_per_day: float = 0.0
    refused_because: str = ""


class WorkloadDrift(msgspec.Struct, frozen=True, kw_only=True):
    """Predicted and measured latency of one workload since the last decision; medians of its requests.

    `ratio` is measured / predicted time per output token, or time to first token where no answer has two tokens.
    """

    workload: str
    lane: str
    requests: int
    predicted_s: float
    measured_s: float
    ratio: float


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Predicted against actual, with the interval of the profile.

    `slower` is the factor on engine steps that explains the latencies, `stop_because` why nothing is applied.
    """

    low: float
    high: float
    workloads: list[WorkloadDrift] = []
    predicted_usd_per_day: float | None = None
    paid_usd_per_day: float | None = None
    slower: float = 1.0
    stop_because: str = ""


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """Machines to commit to this week. `break_even_use` is the share of the time from which on the commitment pays.

    `regret_usd_per_week` is what it would cost beyond on demand if demand halves.
    """

    provider: str
    machine: str
    region: str
    pricing_model: str
    term: str
    machines: int
    usd_per_hour: float
    on_demand_usd_per_hour: float
    break_even_use: float
    use: float
    saves_usd_per_week: float
    regret_usd_per_week: float
    source: str


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision rests on."""

    from_time: str
    to_time: str
    requests: int
    tokens_per_day: float
    queued: int
    judged_from: str
    slower: float = 1.0
    usd_per_hour: dict[str, float] = {}
    forecast: str = ""
    pinball_by_method: dict[str, float] = {}


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision. `plan_before` and `plan_after` name the plans' files in the folder of the log."""

    id: str
    at: str
    at_s: float
    mode: str
    outcome: str
    why: str
    reasons: list[str] = []
    inputs: Inputs | None = None
    alternatives: list[Alternative] = []
    chosen: str = ""
    saves_usd_per_day: float = 0.0
    expected_usd_per_day: float | None = None
    machines: int = 0
    at_risk_usd_per_day: float = 0.0
    changes: list[Change] = []
    drift: Drift | None = None
    commitments: list[Rung] = []
    plan_before: str = ""
    plan_after: str = ""
    schema: str = SCHEMA
