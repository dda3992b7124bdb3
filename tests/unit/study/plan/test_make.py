"""How trust in machines is lowered, round by round."""

from types import SimpleNamespace
from typing import cast

import pytest
from msgspec import structs

from meritorder import planfile
from meritorder.plan.solution import Solution
from meritorder.study.fleets import Backfill
from meritorder.study.plan.make import Made, _cheaper, _seats_step
from meritorder.study.plan.problem import Asked, Trust


def broken(share: float) -> Made:
    load = SimpleNamespace(attainment=0.99, workloads=())
    return cast(
        "Made",
        SimpleNamespace(simulated=SimpleNamespace(slo_attainment=1 - share), asked=SimpleNamespace(loads={"m": load})),
    )


def test_the_further_the_slo_is_from_kept_the_more_seats_go() -> None:
    assert _seats_step(broken(0.0101), 1.0) == pytest.approx(0.9)
    assert _seats_step(broken(0.04), 1.0) == pytest.approx(0.25**0.25)
    assert _seats_step(broken(0.9), 1.0) == pytest.approx(0.5)


def test_what_was_in_vain_makes_steps_longer() -> None:
    seats, rounds = 1.0, 0
    while seats > 0.03:
        seats *= _seats_step(broken(0.015), seats)
        rounds += 1
    assert rounds < 10


def test_less_trust_takes_seats_and_memory_alike() -> None:
    assert Backfill(seats=100, tokens=512, kv_share=0.9).scaled(0.5) == Backfill(seats=50, tokens=512, kv_share=0.45)


def test_what_is_proven_of_the_same_programme_bounds_whichever_plan_is_kept(made: planfile.Plan) -> None:
    """The second costs more, or breaks a promise: its bound holds for the first, unless it trusted machines less."""
    trust = Trust()
    first = attempt(made, usd=100.0, bound_usd=90.0, trust=trust)
    for second in (
        attempt(made, usd=110.0, bound_usd=95.0, trust=trust),
        attempt(made, usd=96.0, bound_usd=95.0, trust=trust, kept=False),
    ):
        kept = _cheaper(first, second)
        assert (kept.usd, kept.file.bound_usd) == (100.0, 95.0)
    assert _cheaper(first, attempt(made, usd=110.0, bound_usd=95.0, trust=Trust(seats=0.9))) is first
    assert _cheaper(first, attempt(made, usd=98.0, bound_usd=85.0, trust=trust)).file.bound_usd == 90.0


def attempt(of: planfile.Plan, *, usd: float, bound_usd: float, trust: Trust, kept: bool = True) -> Made:
    assert of.simulated is not None
    simulated = structs.replace(of.simulated, total_usd=usd, carbon_usd=0.0, kept=kept)
    file = structs.replace(of, bound_usd=bound_usd, simulated=simulated)
    nothing = SimpleNamespace()
    return Made(solution=cast("Solution", nothing), file=file, runs={}, asked=cast("Asked", nothing), trust=trust)
