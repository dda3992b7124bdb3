import re

import msgspec
import pytest
from tests.samples.comparison import week
from tests.samples.page import ATTACK, Page, assert_loads_nothing, rows

from meritorder.records.comparison import (
    Comparison,
)
from meritorder.records.evidence import PriceUsed
from meritorder.report.compare.html import render
from meritorder.report.figures import DARK, LIGHT


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(week()))


def hostile() -> Comparison:
    answer = week()
    price = PriceUsed(
        what=ATTACK, provider=ATTACK, pricing_model=ATTACK, usd=1.0, unit=ATTACK, as_of=ATTACK,
        source="javascript:alert(3)", confidence=ATTACK, used_for=ATTACK,
    )  # fmt: skip
    arrangements = [msgspec.structs.replace(a, title=ATTACK, notes=[ATTACK]) for a in answer.arrangements]
    return msgspec.structs.replace(
        answer,
        model=ATTACK,
        hardware=ATTACK,
        sentence=ATTACK,
        arrangements=arrangements,
        prices=[price],
        performance=[ATTACK],
        warnings=[ATTACK],
        trace=msgspec.structs.replace(answer.trace, files=[ATTACK], format=ATTACK),
    )


def test_page_loads_nothing() -> None:
    assert_loads_nothing(render(week()))


def test_only_web_sources_are_links(page: Page) -> None:
    links = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert links == {price.source for price in week().prices if price.source.startswith("https://")}
    assert not [a for t, a in Page(render(hostile())).elements if t == "a"]


def test_user_text_stays_text(page: Page) -> None:
    attacked = Page(render(hostile()))
    assert [t for t, _ in attacked.elements if t in {"img", "script"}] == ["script"] * 3
    assert len(attacked.scripts) == len(page.scripts) == 3
    assert " ".join(ATTACK.split()) in attacked.text
    assert "49" not in attacked.text.split(ATTACK[:20])[1][:80]
    assert rows(attacked.charts["lanes"])[0]["title"] == ATTACK


def test_charts_and_places_match(page: Page) -> None:
    places = [a["data-chart"] for _, a in page.elements if "data-chart" in a]
    assert sorted(map(str, places)) == sorted(page.charts)
    assert sorted(page.charts) == [
        "frontier", "lanes", "load-batch", "load-mix", "load-realtime_autoscaled", "load-realtime_fixed",
        "paid-time", "waterfall-0", "waterfall-1",
    ]  # fmt: skip


def test_page_holds_the_answer(page: Page) -> None:
    answer = week()
    said = [
        answer.sentence, answer.break_even_note, *answer.warnings, *answer.performance,
        *(a.text for a in answer.assumptions), *(p.why for fall in answer.waterfall for p in fall.parts),
        *(p.what for p in answer.prices), *(p.as_of for p in answer.prices), *answer.trace.files,
        "$9,761", "$2.317", "64 %", "4,212,480", "Monday 13 May 2024 00:00 UTC",
    ]  # fmt: skip
    assert [text for text in said if text not in page.text] == []


def test_bare_answer_has_no_sections() -> None:
    bare = msgspec.structs.replace(
        week(),
        arrangements=[
            msgspec.structs.replace(a, timeline=None, paid_time=None, lanes=[]) for a in week().arrangements
        ],
        waterfall=[], frontier=[], prices=[], assumptions=[], performance=[], warnings=[],
        ratio_realtime_to_batch=float("nan"),
    )  # fmt: skip
    page = Page(render(bare))
    assert page.charts == {}
    assert [a["id"] for t, a in page.elements if t == "section"] == ["arrangements", "sure", "trace"]
    assert not re.search(r"\bnan\b", page.text)


def test_colors_follow_light_and_dark() -> None:
    html = render(week())
    assert f"--realtime: {LIGHT.realtime};" in html
    assert f"--realtime: {DARK.realtime};" in html
    charts = Page(html).scripts["charts"]
    assert "var(--realtime)" in charts
    assert not re.search(r"#[0-9a-f]{6}", charts)
