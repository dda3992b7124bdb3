import io

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console
from tests.samples.comparison import week

from meritorder.records.comparison import Comparison
from meritorder.report.compare.text import render


def printed(comparison: Comparison, width: int) -> str:
    file = io.StringIO()
    render(comparison, Console(file=file, width=width, color_system=None, legacy_windows=False))
    return file.getvalue()


def row(text: str, title: str) -> str:
    return next(line for line in text.splitlines() if title in line and "$" in line)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 140, 200])
def test_no_line_exceeds_the_terminal(width: int) -> None:
    assert max(cell_len(line) for line in printed(week(), width).splitlines()) <= width


@pytest.mark.parametrize("width", [80, 100, 140])
def test_nothing_is_cut_off(width: int) -> None:
    assert "…" not in printed(week(), width)


def test_sentence_comes_first() -> None:
    first = printed(week(), 120).split("\n\n", maxsplit=1)[0].split()
    assert " ".join(first).startswith("Letting 40 % of your requests wait up to 4 hours cuts the week from $13,048")


def test_wide_terminal_shows_every_column() -> None:
    text = printed(week(), 160)
    expected = "$9,761 \N{EN DASH} $2.317 $0.610 64 % 99 % 980 10 352 ms 1.71 s 44.2 ms 11.2 s 2.73 h 99.21 % 0"
    assert " ".join(row(text, "Mix, with backfill").split()).endswith(expected)
    assert "Columns not shown" not in text


def test_narrow_terminal_names_hidden_columns() -> None:
    text = printed(week(), 80)
    cells = row(text, "Mix, with backfill").split()
    assert cells[:1] == ["▸"]
    assert {"$9,761", "$2.317", "64", "99.21"} <= set(cells)
    assert "replica-hours" in text.split("Columns not shown")[1]


def test_missing_figures_are_dashes() -> None:
    cells = row(printed(week(), 160), "Token API, standard").split()
    assert cells[-11:] == ["\N{EN DASH}"] * 11


def test_special_arrangements_are_marked() -> None:
    text = printed(week(), 100)
    marks = {title: row(text, title).split()[0] for title in ("Mix, with", "Real time, auto", "Batch", "API, flex")}
    assert marks == {"Mix, with": "▸", "Real time, auto": "◦", "Batch": "✗", "API, flex": "✗"}


def test_every_text_is_printed() -> None:
    comparison = week()
    text = " ".join(printed(comparison, 200).split())
    for fall in comparison.waterfall:
        assert all(part.why in text for part in fall.parts)
    for assumption in comparison.assumptions:
        assert assumption.text in text
        assert assumption.option in text
    assert all(price.as_of in text and price.what in text for price in comparison.prices)
    assert all(line in text for line in (*comparison.performance, *comparison.warnings, comparison.break_even_note))
    assert "between 21 % and 29 %" in text


def test_user_text_cannot_style_terminal() -> None:
    trace = msgspec.structs.replace(week().trace, files=["[red]x[/red]\x1b[2J.csv"])
    text = printed(msgspec.structs.replace(week(), trace=trace), 120)
    assert "[red]x[/red]�[2J.csv" in text
    assert "\x1b" not in text


def test_bare_answer_is_printed() -> None:
    bare = msgspec.structs.replace(
        week(),
        waterfall=[],
        frontier=[],
        prices=[],
        assumptions=[],
        performance=[],
        warnings=[],
        saving_interval=None,
        saving_usd=0.0,
        break_even_utilization=None,
        break_even_note="",
        ratio_realtime_to_batch=float("nan"),
    )
    text = printed(bare, 80)
    assert "Nothing is cheaper than real time, autoscaled." in text
    assert "nan" not in text
    assert "Prices used" not in text
