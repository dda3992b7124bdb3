"""Tokens on days that were not seen: bought where they cost less on the days before."""

import pytest

from meritorder.study.forward.seasonal import Method, MethodScores
from meritorder.study.forward.tokens import TokensByDay
from meritorder.study.forward.walk import UnseenDays, WalkDay

SCORES = MethodScores(days=8, pinball={Method.FITTED: 0.2, Method.SEASONAL: 0.1})


def walked(*usd: float, best_usd: tuple[float | None, ...] = ()) -> UnseenDays:
    """Return days that cost so much, the first of which is not judged."""
    days = tuple(
        WalkDay(
            index=index,
            requests=100,
            policy="autoscaled",
            policy_usd=day_usd,
            baseline="always on",
            baseline_usd=20.0,
            best_usd=day_usd,
            slo_attainment=0.99,
            slo_kept=True,
            baseline_slo_kept=True,
            deadlines_missed=1,
            baseline_deadlines_missed=0,
            forecast=None,
        )
        for index, day_usd in enumerate(usd)
    )
    best = dict(enumerate(best_usd or usd))
    return UnseenDays(days=days[1:], left_out={}, policy=None, floor=(), scores=SCORES, best_usd=best)  # type: ignore[arg-type]


def test_days_before_decide() -> None:
    """Tokens cost $1, $9 and $1, machines $5: cheaper after the first day, as much after the second."""
    days = TokensByDay(served=walked(5, 5, 5), rest=None, usd={0: 1.0, 1: 9.0, 2: 1.0})
    assert [day.policy_usd for day in days.days] == [9.0, 5.0]
    assert [day.policy for day in days.days] == ["tokens", "autoscaled"]
    assert [day.baseline_usd for day in days.days] == [20.0, 20.0]
    assert [day.best_usd for day in days.days] == [5.0, 5.0]
    assert days.are_bought_after(0)
    assert not days.are_bought_after(1)  # ten dollars each
    assert days.are_bought_after(2)


def test_rest_is_served_by_machines() -> None:
    days = TokensByDay(served=walked(5, 5), rest=walked(2, 3), usd={0: 1.0, 1: 1.5})
    (day,) = days.days
    assert day.policy_usd == pytest.approx(4.5)
    assert (day.policy, day.deadlines_missed, day.slo_attainment) == ("autoscaled, and tokens", 1, 0.99)


@pytest.mark.parametrize("rest", [walked(2), walked(2, 3, best_usd=(None, 3.0))])
def test_unknown_days_stay_on_machines(rest: UnseenDays) -> None:
    """The rest has no requests on the day, or broke its promises on the day before."""
    days = TokensByDay(served=walked(5, 5), rest=rest, usd={0: 1.0, 1: 1.0})
    assert [day.policy_usd for day in days.days] == [5.0]
