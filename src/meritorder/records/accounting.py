"""The answers of `ledger` and `watch`: what was paid and for what.

Plain records, written as JSON as they are. `paid_usd` of a ledger is to the picodollar: the sum over `by_use`, and over
`rows` if there are any. A schema changes when a field changes its meaning or is removed.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

SCHEMA: Final = "meritorder.ledger/1"
WATCH_SCHEMA: Final = "meritorder.watch/1"
NOTICE_DAYS: Final = 30
"""Before a commitment ends, it is announced this long."""
OUTPUT_WEIGHT: Final = 4.0
"""Work of an output token in input tokens. Assumed: token APIs charge three to five times as much for it, 2026."""


class Use(StrEnum):
    """What paid capacity, or a token API, was paid for."""

    BUSY = "busy"
    STARTING = "starting"
    IDLE = "idle"
    UNUSED_COMMITMENT = "unused commitment"
    TOKENS = "tokens"


class UseCost(msgspec.Struct, frozen=True, kw_only=True):
    """What was paid for one use: busy, tokens, starting, idle or unused commitment."""

    use: str
    paid_usd: Decimal


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    """The requests and costs of one group.

    Args:
        by: Names and values of the group; costs that belong to no request have their use in parentheses.
        requests: Requests that ended in the group.
        attempts: Attempts of these and other requests that ended in the group.
        input_tokens: Their prompt tokens.
        output_tokens: Their output tokens.
        paid_usd: What was paid for the group.
        saved_usd: Its part of the saving, real time alone being shared by tokens; None if none is claimed.
    """

    by: dict[str, str]
    requests: int
    attempts: int
    input_tokens: int
    output_tokens: int
    paid_usd: Decimal
    saved_usd: Decimal | None = None


class WorkloadCost(msgspec.Struct, frozen=True, kw_only=True):
    """The requests and costs of one workload in one lane; costs that belong to no request are not in it."""

    workload: str
    lane: str
    requests: int
    input_tokens: int
    output_tokens: int
    paid_usd: Decimal
    usd_per_request: Decimal | None
    usd_per_mtok: Decimal | None


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """Requests with a deadline, by whether they were answered before it."""

    kept: int
    missed: int


class QuotedBatches(msgspec.Struct, frozen=True, kw_only=True):
    """Batches with a quote that ended in the period: what they were quoted, are charged and cost.

    Args:
        batches: How many.
        quoted_usd: What they were quoted.
        charged_usd: What they are charged: as quoted if that is honored, else what was paid.
        paid_usd: What was paid for them.
        difference_usd: What they are charged above what was paid; negative if less.
    """

    batches: int
    quoted_usd: Decimal
    charged_usd: Decimal
    paid_usd: Decimal
    difference_usd: Decimal


class LaneSpend(msgspec.Struct, frozen=True, kw_only=True):
    """What was paid because of one lane: real time what its fleet would cost alone, the deferrable lane the rest."""

    lane: str
    paid_usd: Decimal


class Counterfactual(msgspec.Struct, frozen=True, kw_only=True):
    """Real time alone, simulated for the same requests on the same machines at the same price.

    Args:
        arrangement: The cheapest fleet that keeps the SLO for all requests in real time.
        machine: What a replica is.
        realtime_usd: What that fleet costs, simulated.
        as_ran_usd: What the replicas that ran cost, simulated.
        paid_usd: What was paid for them.
        busy_simulated: Share of serving time with a request running, simulated as it ran.
        busy_measured: The same as it was.
        basis: What the interval of the saving comes from.
        assumptions: What was assumed.
    """

    arrangement: str
    machine: str
    realtime_usd: float
    as_ran_usd: float
    paid_usd: Decimal
    busy_simulated: float
    busy_measured: float
    basis: str
    assumptions: tuple[str, ...] = ()


class BillDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the difference between bill and ledger, and why."""

    why: str
    usd: Decimal


class BillLine(msgspec.Struct, frozen=True, kw_only=True):
    """Charges of a bill and the venues of the ledger that they belong to.

    Args:
        what: The venues, or what the bill calls it.
        ledger_usd: What was paid by the ledger.
        bill_usd: What was charged, commitments amortized.
        difference_usd: What was charged beyond that.
        ledger_hours: Hours of machines in the ledger; None without any.
        bill_hours: Hours on the bill; None if it does not say.
        reasons: Why they differ, in parts that sum to the difference but for half cents; empty if they match.
    """

    what: str
    ledger_usd: Decimal
    bill_usd: Decimal
    difference_usd: Decimal
    ledger_hours: float | None
    bill_hours: float | None
    reasons: tuple[BillDifference, ...]


class BillMatch(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger against a bill of the same period.

    Args:
        files: The files of the bill.
        ledger_usd: What was paid by the ledger.
        bill_usd: What was charged for inference, commitments amortized.
        difference_usd: What was charged beyond the ledger.
        matched_usd: Charges that match to the cent.
        other_usd: Charges for something else, which belong to no venue.
        lines: Both by venue, the largest first.
        warnings: What was wrong with the bill.
    """

    files: tuple[str, ...]
    ledger_usd: Decimal
    bill_usd: Decimal
    difference_usd: Decimal
    matched_usd: Decimal
    other_usd: Decimal
    lines: tuple[BillLine, ...]
    warnings: tuple[str, ...]


class DayForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a coming day is expected to cost; the day is an ISO 8601 date in UTC."""

    day: str
    expected_usd: float


class BudgetForecast(msgspec.Struct, frozen=True, kw_only=True):
    """A budget, and what of it will be spent. Low and high bound it eight times in ten.

    Args:
        budget: Whose it is.
        limit_usd: Its amount.
        spent_usd: What is spent of it.
        ends_at: When it renews, or the end of the forecast if it does not, ISO 8601.
        expected_usd: What is expected to be asked of it by then; calls beyond the limit wait or are refused.
        low_usd: The low of that.
        high_usd: The high of that.
        spent_on: The day on which nothing will be left; None if something is at its end.
    """

    budget: str
    limit_usd: float
    spent_usd: float
    ends_at: str
    expected_usd: float
    low_usd: float
    high_usd: float
    spent_on: str | None


class SpendForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What the coming days, today the first, are expected to cost. Low and high bound it eight times in ten.

    Args:
        days: How many.
        expected_usd: What they are expected to cost.
        low_usd: The low of that.
        high_usd: The high of that.
        past_days: Whole days that it is forecast from.
        past_usd_per_day: What these cost on average.
        method: fitted, or naive seasonal if that erred less on past days.
        error: How far sums of past days were from their forecast, as a logarithm, root mean square.
        by_day: The days.
        budgets: The budgets of keys and teams.
    """

    days: int
    expected_usd: float
    low_usd: float
    high_usd: float
    past_days: int
    past_usd_per_day: float
    method: str
    error: float
    by_day: tuple[DayForecast, ...]
    budgets: tuple[BudgetForecast, ...] = ()


class RunningCommitment(msgspec.Struct, frozen=True, kw_only=True):
    """A commitment in force: it is paid whether it runs or not.

    Args:
        venue: The venue on its machine.
        machine: The machine; empty if it is not named.
        pricing_model: How it is paid.
        usd_per_hour: Its price.
        ends_at: When it ends, ISO 8601; None if that is not stated.
        days_left: Whole days until then; None if that is not known.
    """

    venue: str
    machine: str
    pricing_model: str
    usd_per_hour: Decimal
    ends_at: str | None
    days_left: int | None


class LedgerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was paid within a period.

    Args:
        schema: Version of this form.
        period: Start and end, ISO 8601; the end is not in it.
        paid_usd: All that was paid.
        counterfactual_usd: What real time would have cost; None if it is not known.
        saved_usd: The difference, scaled to what was paid; None if none is claimed.
        saved_interval: Interval of the saving; None if none is claimed, or no error was seen to draw it from.
        no_saving_because: Why no saving is claimed; empty if one is.
        counterfactual: The simulation that the saving comes from; None without one.
        idle_usd: Paid for capacity that was ready while nothing ran.
        starting_usd: Paid for capacity before it was ready.
        unused_commitment_usd: Paid for commitments that no replica used.
        by_use: `paid_usd` by what it was paid for.
        by_cause: `paid_usd` by the lane that it was paid because of; empty without a simulation.
        by_workload: What was paid for requests, by workload and lane.
        rows: `paid_usd` by the groups that were asked for.
        requests: Requests that ended.
        attempts: Attempts that ended.
        deadlines: Deadlines that were kept and missed.
        quotes: Batches with a quote; None without any.
        bill: The ledger against a bill; None if none was given.
        forecast: What the coming days will cost; None if that was not asked for.
        commitments: Those in force by the configuration of the gateway.
        warnings: What has no price, and what was assumed.
    """

    schema: str = SCHEMA
    period: tuple[str, str]
    paid_usd: Decimal
    counterfactual_usd: Decimal | None = None
    saved_usd: Decimal | None = None
    saved_interval: tuple[Decimal, Decimal] | None = None
    no_saving_because: str = ""
    counterfactual: Counterfactual | None = None
    idle_usd: Decimal
    starting_usd: Decimal
    unused_commitment_usd: Decimal
    by_use: tuple[UseCost, ...]
    by_cause: tuple[LaneSpend, ...] = ()
    by_workload: tuple[WorkloadCost, ...]
    rows: tuple[CostRow, ...]
    requests: int
    attempts: int
    deadlines: Deadlines
    quotes: QuotedBatches | None = None
    bill: BillMatch | None = None
    forecast: SpendForecast | None = None
    commitments: tuple[RunningCommitment, ...] = ()
    warnings: tuple[str, ...] = ()


class TokenCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a million tokens cost: of the input, of the output, and of both as they were mixed."""

    input_usd: float
    output_usd: float
    all_usd: float


class WatchedModel(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of one model of an engine, and its share of the price by them; the name is empty if it has none."""

    model: str
    input_tokens: int
    output_tokens: int
    paid_usd: float
    usd_per_mtok: TokenCost | None


class WatchReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the tokens of an engine cost, measured from its own counters.

    Args:
        schema: Version of this form.
        url: Where its metrics are.
        engine: Which engine it is.
        machine: What it runs on; empty if only the price was given.
        usd_per_hour: The price of that.
        measured_s: How long it was measured.
        idle_s: Of it, while nothing ran or waited and no token was counted.
        unreachable_s: Of it, while it could not be read.
        paid_usd: The price of that time.
        idle_usd: The price of the idle time.
        input_tokens: Prompt tokens that were counted.
        output_tokens: Generated tokens that were counted.
        usd_per_mtok: What a million tokens cost, idle time included; None without tokens.
        busy_usd_per_mtok: The same without idle time.
        models: The tokens by model.
        assumptions: What was assumed.
        warnings: What makes the measurement uncertain.
    """

    schema: str = WATCH_SCHEMA
    url: str
    engine: str
    machine: str
    usd_per_hour: float
    measured_s: float
    idle_s: float
    unreachable_s: float
    paid_usd: float
    idle_usd: float
    input_tokens: int
    output_tokens: int
    usd_per_mtok: TokenCost | None
    busy_usd_per_mtok: TokenCost | None
    models: tuple[WatchedModel, ...]
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...] = ()
