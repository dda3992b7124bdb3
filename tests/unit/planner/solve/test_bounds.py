"""Lower bounds against plans whose cost is known."""

import dataclasses

import numpy as np
import pytest
from tests.samples.planning import HOUR, deferrable, hours, on_demand, pool, realtime, reserved, small

from meritorder.planner.model.constraints import Formulation, formulate
from meritorder.planner.model.demand import Horizon, OpenEnd
from meritorder.planner.model.linear_program import SparseModel
from meritorder.planner.model.problem import CarbonPrice, Problem
from meritorder.planner.model.supply import CapacityBlock, SavingsPlan, TokenTier
from meritorder.planner.solve import bounds
from meritorder.planner.solve.bounds import (
    _assign_windows,
    _committed_columns,
    _reduced_cost,
    _window_slots,
    hard_bound_usd,
    lagrangian_bound,
    relaxed_usd,
)
from meritorder.planner.solve.highs import Effort, SolverResult, solve
from meritorder.planner.solve.search import find_plan

EXACT = Effort(gap=1e-9, time_limit_s=20)


def test_hard_bound_assumes_saturated_machines() -> None:
    """A plan of machines that may be three quarters full pays for a third more; physics asks for no more."""
    full, careful = (
        Problem(
            horizon=hours(2),
            workloads=(deferrable([3.0, 0], 1),),
            pools=(pool(max_utilization=share, safe=[0.0]),),
            payments=(on_demand(),),
        )
        for share in (1.0, 0.75)
    )
    assert find_plan(full, EXACT).hard_bound_usd == pytest.approx(30)
    plan = find_plan(careful, EXACT)
    assert plan.usd == pytest.approx(40)
    assert plan.hard_bound_usd == pytest.approx(30)


def test_hard_bound_subtracts_sunk_capacity() -> None:
    """Three machine-hours at $10, of which a held machine could save two at that price."""
    problem = small([0.0, 0.0], [3.0, 0.0], 2, payments=(on_demand(), reserved(held=1, max_machines=0)))
    assert hard_bound_usd(problem) == pytest.approx(10)
    # With two replicas a machine, six replica-hours at $5, of which it could save four.
    doubled = dataclasses.replace(
        problem,
        workloads=(deferrable([6.0, 0.0], 2),),
        pools=(pool(replicas=2, safe=[0.0, 1.0]),),
    )
    assert hard_bound_usd(doubled) == pytest.approx(10)


def test_lagrangian_bound_between_relaxation_and_plan() -> None:
    load = 0.4 + np.abs(np.sin(np.arange(24) / 4))
    problem = small(load.tolist(), (load / 3).tolist(), 4, pools=(pool(startup_paid_s=900.0),))
    formulation = formulate(problem)
    relaxed = solve(formulation.model, integer=False)
    assert relaxed_usd(problem) == pytest.approx(relaxed.usd)
    bound_usd, _ = lagrangian_bound(formulation, relaxed.row_duals, time_limit_s=20)
    best = find_plan(problem, Effort(gap=1e-3, time_limit_s=20))
    assert relaxed.usd - 1e-6 <= bound_usd <= best.usd + 1e-6


def test_hard_bound_of_cheapest_venue() -> None:
    """Tokens cost $4 for a machine-hour of real time and $12 for one of deferrable work, machines $10 for either."""
    usd = {"chat": np.array([4.0, 4.0]), "batch": np.array([12.0, 0.0])}
    tier = TokenTier(name="api", provider="x", model="m", usd=usd)
    problem = small([1.0, 1.0], [1.0, 0.0], 1, tiers=(tier,))
    assert hard_bound_usd(problem) == pytest.approx(4 + 4 + 10)


def test_hard_bound_subtracts_sunk_savings_plan() -> None:
    """$5 an hour are held for two hours at half the on-demand price: $20 of 3 machine-hours at $10."""
    held = SavingsPlan(name="sp", usd_per_hour={"aws-h100": 5.0}, held_usd_per_hour=5.0, max_usd_per_hour=0.0)
    assert hard_bound_usd(small([0.0, 0.0], [3.0, 0.0], 2, savings_plans=(held,))) == pytest.approx(10)


def test_hard_bound_is_never_negative() -> None:
    """Five machines held for two hours could save $100, but only $30 are spent."""
    assert hard_bound_usd(small([0.0, 0.0], [3.0, 0.0], 2, payments=(on_demand(), reserved(held=5)))) == 0.0


def test_hard_bound_in_half_hours() -> None:
    """Two slots of half an hour, $30 of work: a held machine saves $10, and $5 an hour at half price save $10."""
    horizon = Horizon(slot_s=HOUR / 2, slots=2, ends=OpenEnd())
    problem = small([0.0, 0.0], [3.0, 0.0], 2, horizon=horizon)
    held = dataclasses.replace(problem, payments=(on_demand(), reserved(held=1, max_machines=0)))
    plan = SavingsPlan(name="sp", usd_per_hour={"aws-h100": 5.0}, held_usd_per_hour=5.0, max_usd_per_hour=0.0)
    assert hard_bound_usd(problem) == pytest.approx(30)
    assert hard_bound_usd(held) == pytest.approx(20)
    assert hard_bound_usd(dataclasses.replace(problem, savings_plans=(plan,))) == pytest.approx(20)


def test_unusable_commitments_save_nothing() -> None:
    """Held machines without a pool, and a savings plan for machines that cannot be rented."""
    plan = SavingsPlan(name="sp", usd_per_hour={"gcp-h100": 5.0}, held_usd_per_hour=5.0, max_usd_per_hour=0.0)
    payments = (on_demand(), reserved(6.0, "gcp-h100", held=1))
    for options in ({"payments": payments}, {"savings_plans": (plan,)}):
        assert hard_bound_usd(small([0.0, 0.0], [3.0, 0.0], 2, **options)) == pytest.approx(30)


def test_hard_bound_subtracts_sunk_blocks() -> None:
    """A block of two machines held in the first of two hours saves $20 of $30."""
    block = CapacityBlock(
        name="block",
        machine="aws-h100",
        usd_per_hour=4.0,
        slots=1,
        starts=(),
        held=np.array([2.0, 0.0]),
        max_machines=0,
    )
    assert hard_bound_usd(small([0.0, 0.0], [3.0, 0.0], 2, payments=(on_demand(), block))) == pytest.approx(10)


def test_hard_bound_of_best_savings_rate() -> None:
    """$5 an hour for two hours buy $20 of machines at half price, though the other machines are a fifth off only."""
    plan = SavingsPlan(
        name="sp", usd_per_hour={"aws-h100": 5.0, "gcp-h100": 8.0}, held_usd_per_hour=5.0, max_usd_per_hour=0.0
    )
    problem = small(
        [0.0, 0.0],
        [3.0, 0.0],
        2,
        pools=(pool(), pool("gcp-h100")),
        payments=(on_demand(), on_demand(10.0, "gcp-h100")),
        savings_plans=(plan,),
    )
    assert hard_bound_usd(problem) == pytest.approx(10)


def test_all_tokens_of_backlog_are_paid() -> None:
    """Tokens for a machine-hour cost $9, then $4: real time of one hour takes $9, deferrable work of both $13."""
    usd = {"chat": np.array([9.0, 4.0]), "batch": np.array([9.0, 4.0])}
    tier = TokenTier(name="api", provider="x", model="m", usd=usd)
    assert hard_bound_usd(small([1.0, 0.0], [1.0, 1.0], 2, tiers=(tier,))) == pytest.approx(9 + 9 + 4)


def test_hard_bound_weighs_scenarios() -> None:
    horizon = hours(1, scenarios=2, probabilities=(0.75, 0.25))
    problem = Problem(horizon=horizon, workloads=(realtime([1.0, 3.0]),), pools=(pool(),), payments=(on_demand(10.0),))
    assert hard_bound_usd(problem) == pytest.approx(0.75 * 10 + 0.25 * 30)
    held = dataclasses.replace(problem, payments=(on_demand(10.0), reserved(held=1, max_machines=0)))
    assert hard_bound_usd(held) == pytest.approx(0.75 * 10 + 0.25 * 30 - 10)


def test_hard_bound_includes_carbon() -> None:
    """10 kW at 100 grams and $1,000 a tonne add $1 to each of two machine-hours, whatever the hour."""
    carbon = CarbonPrice(usd_per_tonne=1000.0, grams_per_kwh={"here": np.array([500.0, 100.0])})
    problem = small([0.0, 0.0], [2.0, 0.0], 2, pools=(pool(power_w=10_000.0),), carbon=carbon)
    assert hard_bound_usd(problem) == pytest.approx(22)


def test_lagrangian_bound_sees_whole_machines() -> None:
    """Half a machine's work in each of 200 hours, due at once, takes a whole machine; the relaxation takes half."""
    problem = small([0.0] * 200, [0.5] * 200, 1)
    formulation = formulate(problem)
    relaxed = solve(formulation.model, integer=False)
    assert relaxed.usd == pytest.approx(1000)
    bound_usd, _ = lagrangian_bound(formulation, relaxed.row_duals, time_limit_s=20)
    assert 1900 < bound_usd <= 2000 + 1e-6


def test_windows_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each window may take an equal part of what the windows before it have left of the limit."""
    formulation, allowed = formulate(small([0.0] * 200, [0.5] * 200, 1)), list[float]()
    relaxed = solve(formulation.model, integer=False)

    def timed(part: SparseModel, *, integer: bool, time_limit_s: float, gap: float) -> SolverResult:
        allowed.append(time_limit_s)
        return dataclasses.replace(solve(part, integer=integer, gap=gap), solve_s=2.0)

    monkeypatch.setattr(bounds, "solve", timed)
    _, spent_s = lagrangian_bound(formulation, relaxed.row_duals, time_limit_s=60)
    count = len(allowed)
    assert (count > 1, spent_s) == (True, 2.0 * count)
    assert allowed == pytest.approx([(60 - 2.0 * done) / (count - done) for done in range(count)])


def test_lagrangian_bound_is_tight_without_fractions() -> None:
    """With whole loads the relaxation is whole, and its shadow prices make windows add up to its cost.

    Starts, backlog and a savings plan couple the windows of two scenarios.
    """
    count = 120
    online = realtime(np.tile([1.0, 3.0], count))
    waiting = dataclasses.replace(deferrable(np.tile([2.0, 0.0, 0.0, 0.0], count // 2), 4))
    problem = Problem(
        horizon=hours(count, scenarios=2),
        workloads=(online, waiting),
        pools=(pool(safe=[0.0, 1.0, 2.0, 3.0, 4.0], startup_paid_s=900.0),),
        payments=(on_demand(10.0),),
        savings_plans=(SavingsPlan(name="sp", usd_per_hour={"aws-h100": 7.0}),),
    )
    formulation = formulate(problem)
    relaxed = solve(formulation.model, integer=False)
    assert np.allclose(relaxed.values[formulation.variables.machines] % 1, 0)
    bound_usd, _ = lagrangian_bound(formulation, relaxed.row_duals, time_limit_s=20)
    assert bound_usd == pytest.approx(relaxed.usd, rel=1e-6)
    for share in (0.0, 0.5):
        lower_usd, spent_s = lagrangian_bound(formulation, share * relaxed.row_duals, time_limit_s=20)
        assert 0 <= lower_usd <= relaxed.usd * (1 + 1e-6), "any prices give a lower bound"
        assert 0 < spent_s < 20


def two_scenarios(slot_s: float, slots: int) -> Formulation:
    """One machine's work in each slot, on demand or reserved: one whole number a slot."""
    problem = Problem(
        horizon=Horizon(slot_s=slot_s, slots=slots, scenarios=2),
        workloads=(realtime([1.0] * (2 * slots)),),
        pools=(pool(),),
        payments=(on_demand(), reserved()),
    )
    return formulate(problem)


def test_lagrangian_bound_buys_what_looks_cheap() -> None:
    """At $6.02 for each of ten hours a reservation of $60 seems to earn 20 cents, so all three are bought.

    Ten hours at $6.02 less three times 20 cents: $59.60, just below the cost of one reservation.
    """
    problem = Problem(
        horizon=hours(10),
        workloads=(realtime([1.0] * 10),),
        pools=(pool(safe=[0.0, 1.0, 2.0, 3.0]),),
        payments=(on_demand(10.0), reserved(6.0, max_machines=3)),
    )
    formulation = formulate(problem)
    *_, coupling = _assign_windows(formulation)
    bound_usd, _ = lagrangian_bound(formulation, np.where(coupling, -6.02, 0.0), time_limit_s=20)
    assert bound_usd == pytest.approx(59.6)


def test_lagrangian_bound_without_machines() -> None:
    """Tokens at $9, then at $4 for each of two units of work: there is nothing whole to account for."""
    tier = TokenTier(name="api", provider="x", model="m", usd={"chat": np.array([9.0, 4.0])})
    problem = Problem(horizon=hours(2), workloads=(realtime([1.0, 2.0]),), pools=(), payments=(), tiers=(tier,))
    formulation = formulate(problem)
    relaxed = solve(formulation.model, integer=False)
    bound_usd, _ = lagrangian_bound(formulation, relaxed.row_duals, time_limit_s=20)
    assert bound_usd == pytest.approx(13)


def test_rounding_of_reduced_costs_is_cut_off() -> None:
    """Ten cents are rounding beside a cost of $1,000,000 and more, but not beside $1; a tenth of a microdollar is."""
    model = two_scenarios(HOUR, 10).model
    for largest, rounding, least in ((2e6, 0.1, 0.3), (0.5, 5e-8, 1e-7)):
        cost = np.zeros(len(model.cost))
        cost[:4] = largest, -rounding, rounding, -least
        reduced = _reduced_cost(dataclasses.replace(model, cost=cost), np.zeros(len(model.row_lower)))
        assert reduced[:4].tolist() == [largest, 0.0, 0.0, -least]


@pytest.mark.parametrize(("slot_s", "slots", "sizes"), [(HOUR, 100, [80, 20]), (HOUR / 2, 200, [80, 80, 40])])
def test_windows_hold_eighty_whole_numbers(slot_s: float, slots: int, sizes: list[int]) -> None:
    """Each scenario is cut into windows of 80 slots; what is committed to belongs to none."""
    formulation = two_scenarios(slot_s, slots)
    window, first, coupling = _assign_windows(formulation)
    on_demand_machines = window[formulation.variables.machines[0]]
    numbers = [scenario * slots + number for scenario in range(2) for number in range(len(sizes))]
    assert np.unique(on_demand_machines).tolist() == numbers
    assert np.bincount(on_demand_machines)[numbers].tolist() == sizes * 2
    (committed,) = formulation.variables.committed.values()
    assert window[committed] == -1
    matrix = formulation.model.matrix
    assert set(matrix.row[matrix.column == committed]) == set(np.flatnonzero(coupling))
    assert (first[coupling] == -1).all()
    assert (first[~coupling] >= 0).all()


def test_windows_last_an_hour_at_least() -> None:
    """Three kinds of machines in each minute are 180 whole numbers an hour."""
    names = ("aws-h100", "gcp-h100", "azure-h100")
    problem = Problem(
        horizon=Horizon(slot_s=60.0, slots=120),
        workloads=(realtime([1.0] * 120),),
        pools=tuple(pool(name) for name in names),
        payments=tuple(on_demand(machine=name) for name in names),
    )
    assert _window_slots(formulate(problem)) == 60


def test_reserved_machines_are_whole() -> None:
    formulation = two_scenarios(HOUR, 10)
    whole = np.flatnonzero(_committed_columns(formulation))
    assert whole.tolist() == formulation.variables.machines[1].tolist()
