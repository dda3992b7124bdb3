import json
import re

import msgspec
import pytest
from tests.samples.page import ATTACK, Page, assert_loads_nothing, rows
from tests.samples.plan import H200, RESERVED, TOKENS, week

from meritorder.planfile import Dispatch, Merit, Plan
from meritorder.report import figures
from meritorder.report.palette import DARK, LIGHT, PRICING, pricing_kind
from meritorder.report.plan.html import render
from meritorder.report.sparkline import step_path

SECTIONS = [
    "rent", "commit", "dispatch", "waiting", "merit-order", "bounds", "check", "backtest", "sure", "prices", "planned",
]  # fmt: skip


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(week()))


def sections(page: Page) -> list[str | None]:
    return [a["id"] for t, a in page.elements if t == "section" and "id" in a]


def hostile() -> Plan:
    plan, replace = week(), msgspec.structs.replace
    return replace(
        plan,
        sentence=ATTACK,
        pools=[replace(one, name=ATTACK if one.name == H200 else one.name, model=ATTACK) for one in plan.pools],
        schedule=[replace(one, pool=ATTACK if one.pool == H200 else one.pool, payment=ATTACK) for one in plan.schedule],
        commitments=[replace(one, name=ATTACK, term=ATTACK, payment=ATTACK) for one in plan.commitments],
        workloads=[replace(one, name=ATTACK, model=ATTACK) for one in plan.workloads],
        routes=[replace(one, venue=ATTACK, workload=ATTACK) for one in plan.routes],
        prices=[replace(one, what=ATTACK, unit=ATTACK, source="javascript:alert(3)") for one in plan.prices],
        assumptions=[replace(one, text=ATTACK, option=ATTACK) for one in plan.assumptions],
        merit_order=[replace(one, venue=ATTACK, pricing_model=ATTACK) for one in plan.merit_order],
        waterfall=[replace(one, cause=ATTACK) for one in plan.waterfall],
        backtest=[replace(one, commitment=ATTACK, rule=ATTACK) for one in plan.backtest],
        by_pricing_model={ATTACK: 3.0},
        spot_worth_usd_per_gpu={ATTACK: 3.0},
        baseline=ATTACK,
        performance=[ATTACK],
        warnings=[ATTACK],
    )


def bare() -> Plan:
    return msgspec.structs.replace(
        week(), routes=[], commitments=[], prices=[], assumptions=[], promises=None, baseline="", baseline_usd=None,
        saving_usd=None, saving_share=None, saving_interval=None, simulated=None, spot_worth_usd_per_gpu={},
        performance=[], waterfall=[], backtest=[], regret=None, warnings=[], dispatch=None, merit_order=[],
        workloads=[], sentence="", start_epoch_s=None,
    )  # fmt: skip


def test_the_page_loads_nothing() -> None:
    assert_loads_nothing(render(week()))


def test_the_page_holds_the_plan(page: Page) -> None:
    plan = week()
    said = [
        plan.sentence, RESERVED, TOKENS, H200, *plan.warnings, *plan.performance, *(a.text for a in plan.assumptions),
        *(p.what for p in plan.prices), *(p.as_of for p in plan.prices), "2,688", "paid ahead", "66 % use", "$4,870",
        "1 now, 1 after 50 % of the term", "99.31 %", "1,402,118", "after 3 rounds", "$2,410", "$118.00",
        "this one is 1.2 % above it", "$26,340 at batch rates",
        "this advice", "between 31 % and 42 %", "TTFT 2 s, TPOT 50 ms, for 99.0 % of requests", "40%@4h", "assumed",
        "7 d from Monday 13 May 2024 00:00 UTC",
    ]  # fmt: skip
    assert [text for text in said if text not in page.text] == []
    assert sections(page) == SECTIONS


def test_every_chart_has_a_place_and_every_place_a_chart(page: Page) -> None:
    places = [str(a["data-chart"]) for _, a in page.elements if "data-chart" in a]
    assert sorted(places) == sorted(page.charts) == ["bounds", "merit-order", "paid", "waterfall", "work"]


def test_text_of_the_user_stays_text() -> None:
    attacked = Page(render(hostile()))
    assert [t for t, _ in attacked.elements if t in {"img", "script", "a"}] == ["script"] * 3
    assert len(attacked.scripts) == 3
    assert " ".join(ATTACK.split()) in attacked.text
    assert rows(attacked.charts["merit-order"])[0]["venue"] == ATTACK


def test_sources_of_the_web_are_links(page: Page) -> None:
    links = [a["href"] for t, a in page.elements if t == "a"]
    assert links == ["https://aws.amazon.com/ec2/capacityblocks/pricing/"]


def test_an_empty_field_leaves_its_section_out() -> None:
    page = Page(render(bare()))
    assert sections(page) == ["rent", "bounds", "planned"]
    assert list(page.charts) == ["bounds"]
    assert "This plan costs $22,344." in page.text
    assert not re.search(r"\b(None|nan)\b", page.text)


def test_a_plan_of_nothing_is_still_a_page() -> None:
    nothing = msgspec.structs.replace(bare(), schedule=[], pools=[], by_pricing_model={}, slots=0)
    assert sections(Page(render(nothing))) == ["bounds", "planned"]


def test_colours_follow_the_page_from_light_to_dark() -> None:
    html = render(week())
    for kind in PRICING:
        assert f"--{kind}: {getattr(LIGHT, kind)};" in html
        assert f"--{kind}: {getattr(DARK, kind)};" in html
        assert f".{kind} {{ background: var(--{kind})" in html
    assert not re.search(r"#[0-9a-f]{6}", Page(html).scripts["charts"])


def test_figures_stand_on_their_own_outside_the_page() -> None:
    plan = week()
    assert plan.dispatch is not None
    for chart in (
        figures.bounds(plan),
        figures.merit_order(plan),
        figures.paid(plan, plan.dispatch),
        figures.work(plan, plan.dispatch),
    ):
        assert "var(" not in json.dumps(chart.to_dict())


def test_every_way_to_pay_has_a_colour_and_what_is_unknown_is_grey() -> None:
    known = ("owned", "reserved", "committed_use", "capacity_block", "savings_plan", "on_demand", "spot", "tokens_flex")
    assert {pricing_kind(name) for name in known} == set(PRICING)
    assert pricing_kind("carbon") == "idle"


def test_the_merit_order_rises_and_marks_what_is_used() -> None:
    drawn = rows(figures.merit_order(week()).to_dict())
    assert [row["usd"] for row in drawn] == sorted(one.usd_per_mtok for one in week().merit_order)
    assert [row["from"] for row in drawn[1:]] == [row["to"] for row in drawn[:-1]]
    assert [row["used"] - row["from"] for row in drawn] == pytest.approx([969.0, 8084.0, 1540.0, 120.0])
    assert [row["rank"] for row in drawn] == ["1", "2", "3", "4"]


def test_a_venue_with_more_room_than_all_the_work_does_not_crowd_out_the_rest() -> None:
    steps = [
        Merit(venue="small", pricing_model="spot", usd_per_mtok=1.0, capacity_mtok=10.0, used_share=0.5),
        Merit(venue="endless", pricing_model="tokens_batch", usd_per_mtok=2.0, capacity_mtok=1e9, used_share=2e-8),
    ]
    drawn = rows(figures.merit_order(msgspec.structs.replace(week(), merit_order=steps)).to_dict())
    assert [row["to"] - row["from"] for row in drawn] == pytest.approx([10.0, 25.0])
    assert drawn[1]["used"] - drawn[1]["from"] == pytest.approx(20.0)
    assert drawn[1]["capacity"] == "1e+09 Mtok"
    unused = [msgspec.structs.replace(one, used_share=0.0) for one in steps[:1]]
    assert rows(figures.merit_order(msgspec.structs.replace(week(), merit_order=unused)).to_dict())[0]["to"] == 10.0


def test_the_dispatch_has_a_row_a_slot_and_one_where_it_ends_on_one_scale() -> None:
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


def test_pricing_models_of_one_colour_are_drawn_as_one() -> None:
    dispatch = Dispatch(
        paid_gpus={"reserved": [8.0, 8.0], "committed_use": [4.0, 0.0], "carbon": [1.0, 1.0]},
        realtime_gpus=[3.0, 3.0], deferrable_gpus=[0.0, 1.0], arrived_gpus=[1.0, 0.0],
    )  # fmt: skip
    drawn = rows(figures.paid(msgspec.structs.replace(week(), slots=2), dispatch).to_dict())
    assert [(row["committed"], row["idle"], row["line"]) for row in drawn[:2]] == [(12.0, 1.0, 3.0), (8.0, 1.0, 4.0)]


def test_the_plan_stands_between_what_is_paid_today_and_its_bounds() -> None:
    drawn = rows(figures.bounds(week()).to_dict())
    assert list(dict.fromkeys(row["title"] for row in drawn)) == [
        "Real time", "This plan", "Proven bound", "Saturated machines at the lowest prices",
    ]  # fmt: skip
    plan = [row["usd"] for row in drawn if row["title"] == "This plan"]
    assert sum(plan) == pytest.approx(week().total_usd)


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ([], "M0 10 H8V10Z"),
        ([0, 0], "M0 10 H0V10 H8V10Z"),
        ([1, 1, 4, 0], "M0 10 H0V7.5 H4V0 H6V10 H8V10Z"),
    ],
)
def test_a_trend_is_drawn_from_nothing_to_its_greatest(values: list[int], path: str) -> None:
    assert step_path(values, width=8, height=10) == path
