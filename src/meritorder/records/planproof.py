"""How a plan is judged: with hindsight, on days that it has not seen, and by what earned its saving."""

import msgspec

from meritorder.records.evidence import Interval


class InHindsight(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of the trace itself: what perfect knowledge of its requests would cost, and what it is compared with.

    `baseline_usd` is the cheapest real-time arrangement of the same requests, the one that `compare` finds.
    `bound_usd` bounds every policy of the family that docs/plan.md states, `hard_bound_usd` everything.
    """

    baseline_usd: float
    total_usd: float
    bound_usd: float
    hard_bound_usd: float
    gap: float
    saving_usd: float
    saving_share: float
    slo_attainment: float | None = None
    deadlines_missed: int = 0
    kept: bool = True


class DayJudged(msgspec.Struct, frozen=True, kw_only=True):
    """A day that the policy had not seen: what it cost, against real time sized on the past, and against hindsight."""

    day: str
    requests: int
    baseline_usd: float
    total_usd: float
    saving_share: float
    slo_attainment: float | None
    slo_kept: bool
    deadlines_missed: int
    deadlines_missed_in_real_time: int = 0
    hindsight_usd: float | None = None


class WalkForward(msgspec.Struct, frozen=True, kw_only=True):
    """The policy fitted to the days before each day, and run on it.

    `saving_interval` is the spread of the saving over the days. `regret` is the cost above the hindsight cost of the
    same days, as a share of it; null where no day has one. `pinball_loss` is a share of the mean load, `coverage_80`
    the share of slots whose load lay in the forecast's 80 % band. `pinball_by_method` scores each method of forecasting
    on the same days; `forecast` is the one that the days to come are forecast with.
    """

    days: list[DayJudged]
    left_out: list[str]
    baseline_usd: float
    total_usd: float
    saving_share: float
    saving_interval: Interval | None
    slo_attainment: float | None
    deadlines_missed: int
    regret: float | None = None
    pinball_loss: float | None = None
    coverage_80: float | None = None
    pinball_by_method: dict[str, float] = {}
    forecast: str = "fitted"


class ComingDay(msgspec.Struct, frozen=True, kw_only=True):
    """A day to come: its traffic as forecast, and what is expected to be paid. Low and high bound eight in ten days."""

    day: str
    requests: int
    replicas: float
    replicas_low: float
    replicas_high: float
    total_usd: float
    low_usd: float
    high_usd: float
    baseline_usd: float
    kept: bool
    holiday: bool = False


class ComingDays(msgspec.Struct, frozen=True, kw_only=True):
    """The days that follow the trace, as `--for` asks for them.

    `growth_per_day` is the factor of the traffic from day to day. On `level_shift_day` the level of the traffic changed
    to `level_shift` times what it was; days before no longer count. Low and high are sums over the days.
    """

    days: list[ComingDay]
    total_usd: float
    low_usd: float
    high_usd: float
    baseline_usd: float
    saving_share: float
    growth_per_day: float
    level_shift_day: str | None = None
    level_shift: float | None = None


class Credit(msgspec.Struct, frozen=True, kw_only=True):
    """What one cause saved, in dollars; all causes add up to the saving of the plan."""

    cause: str
    usd: float
