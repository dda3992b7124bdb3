"""The answer as a page: what a screen reader meets, and what a figure tells apart."""

import re

from tests.golden.bill_files import ANSWER

from meritorder.report.audit.figures import COLORS
from meritorder.report.audit.html import render
from meritorder.report.audit.record import decode


def test_bars_are_a_list_of_terms() -> None:
    """A `dl` may have groups of one term and its values in `div`; a role would hide that it is a list."""
    page = render(decode(ANSWER.read_bytes()))
    (bars,) = re.findall(r'<dl class="bars"[^>]*>(.*?)</dl>', page, re.DOTALL)
    groups = re.findall(r"<div>\s*<dt>.*?</dt>\s*<dd.*?</dd>\s*<dd.*?</dd>\s*</div>", bars, re.DOTALL)
    assert len(groups) == bars.count("<dt>") > 1
    assert "role=" not in page[page.index('<dl class="bars"') :].split(">", 1)[0]


def test_spending_over_time_has_an_axis() -> None:
    page = render(decode(ANSWER.read_bytes()))
    axis = re.findall(r'<text class="dollars"[^>]*>([^<]+)</text>', page)
    assert axis[-1] == "$0"
    assert re.search(rf"At most {re.escape(axis[0])} in", page)


def test_purchase_options_have_own_colors() -> None:
    assert len(set(COLORS.values())) == len(COLORS)
