"""Every page in a real browser: accessible, within a phone, from this machine alone, whatever names there are."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_report_browser import CHROMIUM, QUIET
from tests.samples.site import HOSTILE, KnownKeys, serve_site

playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
AXE = Path(__file__).parents[2] / "assets" / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"needs chromium at {CHROMIUM}"),
]
PAGES = {
    "/?model=gpt-4.1-mini": "#answer h1",
    "/data": "#file",
    "/plan": "#decisions",
    "/plan/report": "[data-drawn]",
    "/plan/back/d00001": "form.bare",
    "/live": "#venues-table",
    "/batches": "#new",
    "/batches/batch_1/cancel": "form.bare",
    "/ledger?by=tenant": "#groups",
    "/proof": ".proof",
    "/sign-in": "#key",
    "/nothing": "h1",
}
"""Every page, and what it shows once it is ready."""
VIOLATIONS = "axe.run({resultTypes: ['violations']}).then(found => found.violations.map(v => [v.id, v.nodes[0].html]))"
SHIFTS = """
    new PerformanceObserver(list => {
        for (const shift of list.getEntries()) window.shifted = (window.shifted || 0) + shift.value;
    }).observe({type: "layout-shift", buffered: true})
"""
MAX_BYTES = 500_000
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
WAIT_MS = 60_000


@pytest.fixture(scope="module")
def gateway() -> KnownKeys:
    return KnownKeys()


@pytest.fixture(scope="module")
def address(gateway: KnownKeys) -> Iterator[str]:
    with serve_site(gateway) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield launched
        launched.close()


def _sign_in(browser: Any, address: str, key: str, **options: Any) -> Any:  # noqa: ANN401 (untyped without playwright)
    page = browser.new_context(**options).new_page()
    page.goto(f"{address}/batches", timeout=WAIT_MS)
    page.keyboard.press("Tab")
    page.focus("#key")
    page.keyboard.type(key)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}/batches", timeout=WAIT_MS)
    return page


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_pages_are_sound(browser: Any, address: str, width: int, scheme: str) -> None:  # noqa: ANN401
    if not AXE.exists():
        pytest.skip("needs axe-core: `make assets` fetches it")
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "bypass_csp": True}
    page = _sign_in(browser, address, "admin", **options)
    faults: dict[str, Any] = {}
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.add_init_script(SHIFTS)
    received: list[float] = []
    protocol = page.context.new_cdp_session(page)
    protocol.send("Network.enable")
    protocol.send("Network.setCacheDisabled", {"cacheDisabled": True})
    protocol.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    for path, ready in PAGES.items():
        received.clear()
        page.goto(address + path, timeout=WAIT_MS)
        page.wait_for_selector(ready, state="attached", timeout=WAIT_MS)
        is_large = sum(received) > MAX_BYTES
        shifted = page.evaluate("window.shifted || 0")
        page.evaluate(AXE.read_text(encoding="utf-8"))
        faults[path] = (page.evaluate(VIOLATIONS), page.evaluate(OVERFLOW), shifted, is_large)
    page.context.close()
    assert {path: fault for path, fault in faults.items() if fault != ([], 0, 0, False)} == {}
    assert received != []
    assert [text for text in said if "404" not in text] == []
    assert all(url.startswith((address, "data:")) for url in asked)


def test_proof_prints_on_one_sheet(browser: Any, address: str) -> None:  # noqa: ANN401
    page = _sign_in(browser, address, "admin")
    page.goto(f"{address}/proof", timeout=WAIT_MS)
    page.wait_for_selector(".proof", timeout=WAIT_MS)
    assert "less than in real time alone" in page.inner_text("h1")
    sheets = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4", prefer_css_page_size=True)))
    page.context.close()
    assert sheets == 1


def test_tenants_side_by_side_see_their_own(browser: Any, address: str) -> None:  # noqa: ANN401
    admin, tenant = _sign_in(browser, address, "admin"), _sign_in(browser, address, "tenant")
    for page in (admin, tenant):
        page.goto(f"{address}/ledger?by=tenant", timeout=WAIT_MS)
        page.wait_for_selector("#groups", timeout=WAIT_MS)
    shown = [page.locator("section[aria-labelledby=groups] tbody th").all_inner_texts() for page in (admin, tenant)]
    for page in (admin, tenant):
        page.context.close()
    assert shown == [["(idle)", HOSTILE, "ops", "research"], [HOSTILE]]


def test_keyboard_alone_cancels_a_batch(browser: Any, address: str, gateway: KnownKeys) -> None:  # noqa: ANN401
    page = _sign_in(browser, address, "tenant")
    page.get_by_role("link", name="Cancel batch_1").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/cancel", timeout=WAIT_MS)
    assert gateway.acted == []
    page.get_by_role("button", name="Cancel the batch").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}/batches", timeout=WAIT_MS)
    page.context.close()
    assert gateway.acted == [("tenant", "batch_1", "cancel")]


def test_live_says_what_today_saved(browser: Any, address: str) -> None:  # noqa: ANN401
    pages = [_sign_in(browser, address, key) for key in ("admin", "tenant")]
    for page in pages:
        page.goto(f"{address}/live", timeout=WAIT_MS)
    pages[0].locator(".headline", has_not_text="being simulated").wait_for()
    saved = [page.locator("dt", has_text="Saved today").count() for page in pages]
    for page in pages:
        page.context.close()
    assert saved == [1, 0]
