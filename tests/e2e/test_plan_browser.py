"""The page of a plan in a real browser: it draws every figure, logs no error, and loads nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.samples.plan import week

from meritorder.report.files import write_text
from meritorder.report.plan.html import render

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
MARKS = """
    [...document.querySelectorAll("[data-chart]")].map(
        place => place.querySelectorAll("svg :is(.mark-area, .mark-rect) path[d]").length)
"""
AREAS = "['paid', 'work'].map(name => document.querySelectorAll(`#chart-${name} .mark-area path[d]`).length)"
FILLS = """
    Object.fromEntries([...document.querySelectorAll("#chart-merit-order .mark-rect path")].map(
        mark => [getComputedStyle(mark).fill, mark.getBoundingClientRect().width]))
"""
COLORS = """
    Object.fromEntries(["spot", "committed", "on_demand", "tokens"].map(kind => {
        const swatch = document.querySelector(`#merit-order .swatch.${kind}`);
        return [kind, getComputedStyle(swatch).backgroundColor];
    }))
"""
ROOM = """
    [...document.querySelectorAll("#chart-waterfall .mark-text text")].map(text => {
        const box = text.getBoundingClientRect();
        return [text.textContent, box.left, box.right, Math.round(box.top)];
    })
"""

playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"needs chromium at {CHROMIUM}"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "plan.html"
    write_text(path, render(week()))
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield launched
        launched.close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_draws_every_chart(browser: Any, address: str, width: int, scheme: str) -> None:  # noqa: ANN401 (untyped without playwright)
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    page.wait_for_function("document.documentElement.dataset.drawn", timeout=30_000)
    marks = page.evaluate(MARKS)
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    fills, colors = page.evaluate(FILLS), page.evaluate(COLORS)
    areas = page.evaluate(AREAS)
    page.close()
    assert asked == [address]
    assert said == []
    assert len(marks) == 5
    assert min(marks) > 0
    assert areas == [3, 2]
    assert overflow == 0
    assert set(fills) == set(colors.values())
    assert len(fills) == 4


def test_pointer_reads_a_slot(browser: Any, address: str) -> None:  # noqa: ANN401
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address)
    page.wait_for_function("document.documentElement.dataset.drawn", timeout=30_000)
    page.locator("#chart-work svg").hover(position={"x": 240, "y": 80})
    page.wait_for_selector("#vg-tooltip-element.visible", timeout=10_000)
    tooltip_text = page.locator("#vg-tooltip-element").inner_text()
    page.close()
    assert "deferrable, where it ran" in tooltip_text
    assert "all, where it arrived" in tooltip_text
    assert "14 May" in tooltip_text


def test_long_titles_fit_a_phone(browser: Any, address: str) -> None:  # noqa: ANN401
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(address)
    page.wait_for_function("document.documentElement.dataset.drawn", timeout=30_000)
    texts = page.evaluate(ROOM)
    page.close()
    lines = [sorted(text for text in texts if text[3] == top) for top in {text[3] for text in texts}]
    assert [len(line) for line in lines] == [2] * 6
    for one, other in lines:
        assert min(one[2], other[2]) < max(one[1], other[1])
