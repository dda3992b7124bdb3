"""Options of a plan as the command states them."""

import pytest

from meritorder.errors import ConfigError
from meritorder.study.schedule.options import PlanOptions, parse_days, parse_terms, parse_tiers


@pytest.mark.parametrize(
    ("span_s", "slot_s"), [(60.0, 60.0), (3600.0, 300.0), (6 * 3600.0, 900.0), (15 * 86_400.0, 3600.0)]
)
def test_longer_traces_get_longer_slots(span_s: float, slot_s: float) -> None:
    assert PlanOptions().slot_for(span_s) == slot_s
    assert PlanOptions(slot_s=120.0).slot_for(span_s) == 120.0


def test_unknown_terms_and_tiers_are_refused() -> None:
    assert parse_terms("3y") == ("1y", "3y")
    assert parse_terms("none") == ()
    assert parse_tiers(("batch",)) == ("batch",)
    assert parse_tiers(("none",)) == ()
    assert parse_tiers(()) is None
    with pytest.raises(ConfigError, match="unknown term"):
        parse_terms("2y")
    with pytest.raises(ConfigError, match="unknown tier"):
        parse_tiers(("cheap",))


def test_coming_time_is_whole_days() -> None:
    assert [parse_days(text) for text in ("1d", "7d", "2w")] == [1, 7, 14]
    for text in ("12h", "0d", "36h", "60d", "soon"):
        with pytest.raises(ConfigError, match=f"'{text}' is no number of days up to 28"):
            parse_days(text)


def test_unasked_tokens_are_for_what_waits() -> None:
    unasked, named, none = (PlanOptions(tiers=tiers) for tiers in (None, ("priority", "batch"), ()))
    assert unasked.deferrable_tiers == {"standard", "flex", "batch"}
    assert not unasked.realtime_tiers
    assert (named.deferrable_tiers, named.realtime_tiers) == ({"priority", "batch"}, {"priority"})
    assert not none.deferrable_tiers | none.realtime_tiers
