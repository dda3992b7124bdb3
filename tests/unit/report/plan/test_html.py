import re

import msgspec
import pytest
from tests.samples.page import ATTACK, Page, assert_loads_nothing, rows
from tests.samples.plan import H200, RESERVED, TOKENS, week

from meritorder.records.planfile import Plan
from meritorder.report.figures import DARK, LIGHT, PRICING
from meritorder.report.plan.html import render, step_path

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
        pools=[replace(pool, name=ATTACK if pool.name == H200 else pool.name, model=ATTACK) for pool in plan.pools],
        schedule=[
            replace(pool_schedule, pool=ATTACK if pool_schedule.pool == H200 else pool_schedule.pool, payment=ATTACK)
            for pool_schedule in plan.schedule
        ],
        commitments=[replace(commitment, name=ATTACK, term=ATTACK, payment=ATTACK) for commitment in plan.commitments],
        workloads=[replace(workload, name=ATTACK, model=ATTACK) for workload in plan.workloads],
        routes=[replace(route, venue=ATTACK, workload=ATTACK) for route in plan.routes],
        prices=[replace(price, what=ATTACK, unit=ATTACK, source="javascript:alert(3)") for price in plan.prices],
        assumptions=[replace(assumption, text=ATTACK, option=ATTACK) for assumption in plan.assumptions],
        merit_order=[replace(step, venue=ATTACK, pricing_model=ATTACK) for step in plan.merit_order],
        waterfall=[replace(part, cause=ATTACK) for part in plan.waterfall],
        backtest=[replace(rule, commitment=ATTACK, rule=ATTACK) for rule in plan.backtest],
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
        performance=[], waterfall=[], backtest=[], commitment_regret=None, warnings=[], dispatch=None, merit_order=[],
        workloads=[], sentence="", start_epoch_s=None,
    )  # fmt: skip


def test_page_loads_nothing() -> None:
    assert_loads_nothing(render(week()))


def test_page_holds_the_plan(page: Page) -> None:
    plan = week()
    said = [
        plan.sentence, RESERVED, TOKENS, H200, *plan.warnings, *plan.performance, *(a.text for a in plan.assumptions),
        *(p.what for p in plan.prices), *(p.as_of for p in plan.prices), "2,688", "prepaid", "66 % use", "$4,870",
        "1 now, 1 after 50 % of the term", "99.31 %", "1,402,118", "after 3 rounds", "$2,410", "$118.00",
        "this plan is 1.2 % above it", "$26,340 at batch rates",
        "this advice", "between 31 % and 42 %", "TTFT 2 s, TPOT 50 ms, for 99.0 % of requests", "40%@4h", "assumed",
        "7 d from Monday 13 May 2024 00:00 UTC",
    ]  # fmt: skip
    assert [text for text in said if text not in page.text] == []
    assert sections(page) == SECTIONS


def test_every_chart_has_a_place(page: Page) -> None:
    places = [str(a["data-chart"]) for _, a in page.elements if "data-chart" in a]
    assert sorted(places) == sorted(page.charts) == ["bounds", "merit-order", "paid", "waterfall", "work"]


def test_user_text_is_escaped() -> None:
    attacked = Page(render(hostile()))
    assert [t for t, _ in attacked.elements if t in {"img", "script", "a"}] == ["script"] * 3
    assert len(attacked.scripts) == 3
    assert " ".join(ATTACK.split()) in attacked.text
    assert rows(attacked.charts["merit-order"])[0]["venue"] == ATTACK


def test_web_sources_are_links(page: Page) -> None:
    links = [a["href"] for t, a in page.elements if t == "a"]
    assert links == ["https://aws.amazon.com/ec2/capacityblocks/pricing/"]


def test_empty_fields_have_no_section() -> None:
    page = Page(render(bare()))
    assert sections(page) == ["rent", "bounds", "planned"]
    assert list(page.charts) == ["bounds"]
    assert "This plan costs $22,344." in page.text
    assert not re.search(r"\b(None|nan)\b", page.text)


def test_empty_plan_is_a_page() -> None:
    nothing = msgspec.structs.replace(bare(), schedule=[], pools=[], by_pricing_model={}, slots=0)
    assert sections(Page(render(nothing))) == ["bounds", "planned"]


def test_colors_follow_light_and_dark() -> None:
    html = render(week())
    for kind in PRICING:
        assert f"--{kind}: {getattr(LIGHT, kind)};" in html
        assert f"--{kind}: {getattr(DARK, kind)};" in html
        assert f".{kind} {{ background: var(--{kind})" in html
    assert not re.search(r"#[0-9a-f]{6}", Page(html).scripts["charts"])


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ([], "M0 10 H8V10Z"),
        ([0, 0], "M0 10 H0V10 H8V10Z"),
        ([1, 1, 4, 0], "M0 10 H0V7.5 H4V0 H6V10 H8V10Z"),
    ],
)
def test_trend_is_scaled_to_its_maximum(values: list[int], path: str) -> None:
    assert step_path(values, width=8, height=10) == path
