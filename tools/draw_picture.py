"""Draw the picture of the README: one week served in real time, in batch, and as a mix.

    python tools/draw_picture.py docs/week.svg

The sample week at twenty times its rate, compared as `meritorder compare` does it. Takes about two minutes.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Final

import altair as alt
import vl_convert

from meritorder import CompareOptions, Comparison, compare, read_trace
from meritorder.records.comparison import Arrangement
from meritorder.report.compare import figures
from meritorder.report.figures import LIGHT
from meritorder.traces.generated import sample
from meritorder.units import format_share, format_usd

SCALE: Final = 20
WIDTH: Final = 820
HEIGHT: Final = 110
# Finer than a tenth of a pixel is not visible.
_PATH: Final = re.compile(r' d="[^"]+"')
_DIGITS: Final = re.compile(r"(\.\d)\d+")


def answer() -> Comparison:
    """Compare on the sample week."""
    with tempfile.TemporaryDirectory() as folder:
        trace, workloads = Path(folder) / "week.parquet", Path(folder) / "workloads.toml"
        sample.write(trace, seed=0)
        workloads.write_text(sample.WORKLOADS, encoding="utf-8")
        options = CompareOptions(model=sample.MODEL, hardware=("h100",), workloads=workloads)
        return compare(read_trace(trace, scale=SCALE), options)


def draw(comparison: Comparison) -> str:
    """Draw the baseline, batch and the mix under one another, as SVG."""
    names = {comparison.baseline, "batch", "mix"}
    charts, config = [], None
    for arrangement in (arrangement for arrangement in comparison.arrangements if arrangement.name in names):
        chart = figures.load(comparison, arrangement)
        config, chart.config = chart.config, alt.Undefined
        chart.autosize = chart.background = chart.padding = alt.Undefined
        chart.layer, chart.params = chart.layer[:2], alt.Undefined  # a pointer is useless in a picture
        charts.append(chart.properties(width=WIDTH, height=HEIGHT, title=_title(arrangement)))
    whole = alt.vconcat(*charts, spacing=12, background=LIGHT.paper, padding=14).resolve_scale(x="shared")
    whole.config = config
    svg = vl_convert.vegalite_to_svg(whole.to_json())
    return _PATH.sub(lambda path: _DIGITS.sub(r"\1", path.group()), svg)


def _title(arrangement: Arrangement) -> alt.TitleParams:
    cost = f"{format_usd(arrangement.total_usd)}, {format_usd(arrangement.usd_per_request * 1000)} per 1,000 requests"
    used = f"busy {format_share(arrangement.busy or 0.0)}, utilized {format_share(arrangement.utilization or 0.0)}"
    return alt.TitleParams(
        f"{arrangement.title}: {cost}",
        subtitle=f"{used} of the paid time; the line is what is paid for",
        anchor="start",
        fontSize=14,
        color=LIGHT.ink,
        subtitleColor=LIGHT.muted,
    )


def main(path: Path) -> None:
    """Compare, draw, write."""
    comparison = answer()
    path.write_text(draw(comparison) + "\n", encoding="utf-8")
    print(comparison.sentence)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
