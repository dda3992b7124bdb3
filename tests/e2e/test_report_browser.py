"""The page in a real browser: it draws every figure, logs no error, and loads nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.samples.comparison import week

from meritorder.report.compare.html import render
from meritorder.report.files import write_text

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
]
COUNT_MARKS = """
    [...document.querySelectorAll("[data-chart]")].map(
        place => place.querySelectorAll("svg :is(.mark-area, .mark-rect, .mark-symbol) path[d]").length)
"""
AREAS = "document.querySelectorAll('[id^=chart-load] .mark-area path[d]').length"
WIDTHS = """
    [document.querySelector("#chart-load-mix .mark-line path").getBoundingClientRect().width,
     document.querySelector("#chart-load-mix").clientWidth]
"""

playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"needs chromium at {CHROMIUM}"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "out.html"
    write_text(path, render(week()))
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield launched
        launched.close()


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_draws_everything_from_itself(browser: Any, address: str, width: int, scheme: str) -> None:  # noqa: ANN401 (untyped without playwright)
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    page.wait_for_function("document.documentElement.dataset.drawn", timeout=30_000)
    places = page.locator("[data-chart]").count()
    marks = page.evaluate(COUNT_MARKS)
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    areas = page.evaluate(AREAS)
    page.close()
    assert asked == [address]
    assert said == []
    assert places == 9
    assert min(marks) > 0
    assert areas == 4 * 2
    assert overflow == 0


def test_load_areas_span_the_figure(browser: Any, address: str) -> None:  # noqa: ANN401
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(address)
    page.wait_for_function("document.documentElement.dataset.drawn", timeout=30_000)
    drawn, held = page.evaluate(WIDTHS)
    page.close()
    assert drawn > 0.9 * held


def test_tooltip_shows_every_number_of_bin(browser: Any, address: str) -> None:  # noqa: ANN401
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(address)
    page.wait_for_function("document.documentElement.dataset.drawn", timeout=30_000)
    page.locator("#chart-load-mix svg").hover(position={"x": 240, "y": 80})
    page.wait_for_selector("#vg-tooltip-element.visible", timeout=10_000)
    tooltip_text = page.locator("#vg-tooltip-element").inner_text()
    page.close()
    assert all(title in tooltip_text for title in ("replicas paid for", "real-time work", "deferrable work"))
    assert "14 May" in tooltip_text
