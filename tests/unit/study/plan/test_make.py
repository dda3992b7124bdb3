"""Which plan is kept, and what is trusted less for the next."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from msgspec import structs
from tests.samples.fleets import backfill

from meritorder import planfile
from meritorder.planner.solve.solution import Solution
from meritorder.study.plan.check import ModelRun
from meritorder.study.plan.derating import between, with_more_room
from meritorder.study.plan.made import Made, cheaper, leaves_work
from meritorder.study.plan.problem import Asked, Trust


def test_less_trust_takes_seats_and_memory_alike() -> None:
    assert backfill(100, prefill_tokens=512, kv_share=0.9).scaled(0.5) == backfill(
        50, prefill_tokens=512, kv_share=0.45
    )


def test_half_a_step_back_is_half_way_in_the_seats_of_every_slot() -> None:
    before = Trust(seats={"a": np.array([1.0, 0.5])}, full=0.9)
    after = Trust(seats={"a": np.array([0.25, 0.5]), "b": np.array([0.64, 1.0])}, full=0.8)
    nearer = between(before, after)
    assert nearer.full == 0.8
    assert {model: shares.tolist() for model, shares in nearer.seats.items()} == {"a": [0.5, 0.5], "b": [0.8, 1.0]}


def test_half_of_the_room_that_slots_lost_is_given_back() -> None:
    more = with_more_room(Trust(room={"a": np.array([1.0, 0.6])}, full=0.9))
    assert more.room["a"].tolist() == [1.0, 0.8]
    assert more.full == 0.9


@pytest.mark.parametrize(("end_s", "after_s", "leaves"), [(3700, 300, False), (5700, 30, False), (5700, 300, True)])
def test_work_is_left_where_machines_run_on_for_more_than_a_tail(
    made: planfile.Plan, end_s: int, after_s: int, *, leaves: bool
) -> None:
    """Two slots of half an hour: the last requests end within a slot after them, what waited may take longer."""
    file = structs.replace(made, slots=2, slot_s=1800.0)
    bins = np.array([[900.0, 900.0, 900.0, 900.0, after_s]])
    run = SimpleNamespace(result=SimpleNamespace(end_s=end_s, bin_s=900.0, capacity_bins_s=bins))
    one = attempt(file, usd=1.0, bound_usd=1.0, trust=Trust())
    assert leaves_work(replace(one, runs={"m": cast("ModelRun", run)})) is leaves


def test_what_is_proven_of_the_same_programme_bounds_whichever_plan_is_kept(made: planfile.Plan) -> None:
    """The second costs more, or breaks a promise: its bound holds for the first, unless it trusted machines less."""
    trust = Trust()
    first = attempt(made, usd=100.0, bound_usd=90.0, trust=trust)
    for second in (
        attempt(made, usd=110.0, bound_usd=95.0, trust=trust),
        attempt(made, usd=96.0, bound_usd=95.0, trust=trust, kept=False),
    ):
        kept = cheaper(first, second)
        assert (kept.usd, kept.file.bound_usd) == (100.0, 95.0)
    assert cheaper(first, attempt(made, usd=110.0, bound_usd=95.0, trust=Trust(full=0.9))) is first
    assert cheaper(first, attempt(made, usd=98.0, bound_usd=85.0, trust=trust)).file.bound_usd == 90.0


def attempt(of: planfile.Plan, *, usd: float, bound_usd: float, trust: Trust, kept: bool = True) -> Made:
    assert of.simulated is not None
    simulated = structs.replace(of.simulated, total_usd=usd, carbon_usd=0.0, kept=kept)
    file = structs.replace(of, bound_usd=bound_usd, simulated=simulated)
    nothing = SimpleNamespace()
    return Made(solution=cast("Solution", nothing), file=file, runs={}, asked=cast("Asked", nothing), trust=trust)
