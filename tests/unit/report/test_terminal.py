"""Blocks in a terminal: untrusted text is inert, and every section says what it rests on."""

import io

from rich.console import Console, RenderableType

from meritorder.records.evidence import Assumption, PriceUsed
from meritorder.report.terminal import assumptions_section, plain, prices_section

PRICE = PriceUsed(
    what="8 x h100",
    provider="aws",
    pricing_model="on_demand",
    usd=20.0,
    unit="USD an hour",
    as_of="2026-01-01",
    source="https://www.example.com/prices",
    used_for="batch",
)


def printed(block: RenderableType, width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(block)
    return file.getvalue()


def test_control_characters_are_replaced() -> None:
    assert plain("a\x1b[2Jb\n c").plain == "a\ufffd[2Jb c"


def test_assumption_names_its_option() -> None:
    text = printed(assumptions_section([Assumption(text="it starts in 5 min", option="--startup")], 80), 80)
    assert "it starts in 5 min  change with --startup" in text


def test_prices_fit_any_width() -> None:
    for width in (60, 140):
        text = printed(prices_section([PRICE], width), width)
        assert "example.com" in text
        assert "2026-01-01" in text
        assert "for batch" in text
        assert max(map(len, text.splitlines())) <= width
