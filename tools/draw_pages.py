"""Draw the pictures of the web application's pages for the documentation.

    PYTHONPATH=. python tools/draw_pages.py docs/pages

Needs Chromium and the Python package playwright. The pages show what the browser tests show, with tame names.
"""

import base64
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, sync_playwright
from tests.samples import site

from meritorder.web.pages import calculator
from meritorder.web.pages.form import CalculatorForm

PAGES: Final = {
    "calculator": ("/", "#answer h1"),
    "data": ("/data", "#file"),
    "plan": ("/plan", "#decisions"),
    "live": ("/live", ".headline:not(:has-text('being simulated'))"),
    "batches": ("/batches", "#new"),
    "ledger": ("/ledger?by=tenant&saved=1", "#groups"),
    "proof": ("/proof", ".proof"),
}
"""The address of each page, and what it shows once it is ready."""
MAX_BYTES: Final = 100_000
_ENCODE: Final = """async (url) => {
    const picture = await createImageBitmap(await (await fetch(url)).blob());
    const canvas = Object.assign(document.createElement("canvas"), {width: picture.width, height: picture.height});
    canvas.getContext("2d").drawImage(picture, 0, 0);
    return canvas.toDataURL("image/webp", 0.85);
}"""
_VIEW: Final[Any] = {"width": 1100, "height": 780}
_WAIT_MS: Final = 120_000
_QUIET: Final = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def draw(folder: Path) -> None:
    """Write a picture of each page to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    site.HOSTILE = "team-search"
    calculator.answer(CalculatorForm())  # compiles the simulator
    with site.serve_site(site.KnownKeys()) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=_QUIET)
        page = browser.new_page(viewport=_VIEW, color_scheme="light")
        page.goto(f"{address}/batches", timeout=_WAIT_MS)
        page.fill("#key", "admin")
        page.click("button[type=submit]")
        page.wait_for_url(f"{address}/batches", timeout=_WAIT_MS)
        for name, (path, ready) in PAGES.items():
            page.goto(address + path, timeout=_WAIT_MS)
            page.wait_for_selector(ready, timeout=_WAIT_MS)
            picture = _as_webp(browser, page.screenshot(scale="css"))
            if len(picture) > MAX_BYTES:
                sys.exit(f"{name}.webp has {len(picture):,} bytes, more than {MAX_BYTES:,}")
            (folder / f"{name}.webp").write_bytes(picture)
        browser.close()


def _as_webp(browser: Browser, png: bytes) -> bytes:
    """Return a picture in a format of a quarter of the size, which the browser itself encodes."""
    page = browser.new_page()
    url = page.evaluate(_ENCODE, "data:image/png;base64," + base64.b64encode(png).decode())
    page.close()
    return base64.b64decode(url.partition(",")[2])


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
