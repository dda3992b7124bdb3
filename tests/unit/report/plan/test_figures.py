import json

import msgspec
import pytest
from tests.samples.page import rows
from tests.samples.plan import week

from meritorder.records.planfile import Dispatch, MeritStep
from meritorder.report.plan import figures


def test_figures_are_self_contained() -> None:
    plan = week()
    assert plan.dispatch is not None
    for chart in (
        figures.bounds(plan),
        figures.merit_order(plan),
        figures.paid(plan, plan.dispatch),
        figures.work(plan, plan.dispatch),
    ):
        assert "var(" not in json.dumps(chart.to_dict())


def test_merit_order_rises_and_marks_use() -> None:
    drawn = rows(figures.merit_order(week()).to_dict())
    assert [row["usd"] for row in drawn] == sorted(step.usd_per_mtok for step in week().merit_order)
    assert [row["from"] for row in drawn[1:]] == [row["to"] for row in drawn[:-1]]
    assert [row["used"] - row["from"] for row in drawn] == pytest.approx([969.0, 8084.0, 1540.0, 120.0])
    assert [row["rank"] for row in drawn] == ["1", "2", "3", "4"]


def test_endless_venue_does_not_hide_others() -> None:
    steps = [
        MeritStep(venue="small", pricing_model="spot", usd_per_mtok=1.0, capacity_mtok=10.0, used_share=0.5),
        MeritStep(venue="endless", pricing_model="tokens_batch", usd_per_mtok=2.0, capacity_mtok=1e9, used_share=2e-8),
    ]
    drawn = rows(figures.merit_order(msgspec.structs.replace(week(), merit_order=steps)).to_dict())
    assert [row["to"] - row["from"] for row in drawn] == pytest.approx([10.0, 25.0])
    assert drawn[1]["used"] - drawn[1]["from"] == pytest.approx(20.0)
    assert drawn[1]["capacity"] == "1e+09 Mtok"
    unused = [msgspec.structs.replace(step, used_share=0.0) for step in steps[:1]]
    assert rows(figures.merit_order(msgspec.structs.replace(week(), merit_order=unused)).to_dict())[0]["to"] == 10.0


def test_dispatch_has_one_row_per_slot() -> None:
    plan = week()
    assert plan.dispatch is not None
    paid, work = (draw(plan, plan.dispatch).to_dict() for draw in (figures.paid, figures.work))
    for chart in (paid, work):
        assert len(rows(chart)) == plan.slots + 1
        assert chart["layer"][0]["encoding"]["y"]["scale"]["domain"] == [0, 40.0]
    noon = rows(paid)[12]
    assert (noon["when"], noon["committed"], noon["on_demand"], noon["spot"]) == ("Mon 13 May 12:00", 16.0, 16.0, 0.0)
    three = rows(work)[15]
    assert three["line"] == pytest.approx(three["realtime"] + 14.0, abs=0.011)
    assert rows(paid)[15]["line"] == pytest.approx(three["realtime"] + three["deferrable"], abs=0.011)


def test_one_color_is_drawn_once() -> None:
    dispatch = Dispatch(
        paid_gpus={"reserved": [8.0, 8.0], "committed_use": [4.0, 0.0], "carbon": [1.0, 1.0]},
        realtime_gpus=[3.0, 3.0], deferrable_gpus=[0.0, 1.0], arrived_gpus=[1.0, 0.0],
    )  # fmt: skip
    drawn = rows(figures.paid(msgspec.structs.replace(week(), slots=2), dispatch).to_dict())
    assert [(row["committed"], row["idle"], row["line"]) for row in drawn[:2]] == [(12.0, 1.0, 3.0), (8.0, 1.0, 4.0)]


def test_plan_is_between_baseline_and_bounds() -> None:
    drawn = rows(figures.bounds(week()).to_dict())
    assert list(dict.fromkeys(row["title"] for row in drawn)) == [
        "Real time", "This plan", "Proven bound", "Saturated machines at the lowest prices",
    ]  # fmt: skip
    plan = [row["usd"] for row in drawn if row["title"] == "This plan"]
    assert sum(plan) == pytest.approx(week().total_usd)
