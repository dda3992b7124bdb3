"""How trust in machines is lowered, round by round."""

from types import SimpleNamespace
from typing import cast

import pytest

from meritorder.study.plan.make import Made, _seats_step


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
