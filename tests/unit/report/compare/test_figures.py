import json

import msgspec
import pytest
from tests.samples.comparison import week
from tests.samples.page import rows

from meritorder.report.compare import figures
from meritorder.report.figures import waterfall


def test_figures_need_no_page_variables() -> None:
    answer = week()
    for chart in (
        figures.lanes(answer),
        figures.paid_time(answer),
        waterfall(answer.waterfall[0]),
    ):
        assert "var(" not in json.dumps(chart.to_dict())


def test_load_has_row_per_bin() -> None:
    answer = week()
    drawn = rows(figures.load(answer, answer.arrangements[0]).to_dict())
    assert len(drawn) == 7 * 96 + 1
    assert drawn[0]["t"] == 1_715_558_400_000.0
    assert drawn[-1]["t"] == 1_715_558_400_000.0 + 7 * 86_400_000
    assert drawn[5]["when"] == "Mon 13 May 01:15"


def test_undated_trace_counts_from_start() -> None:
    answer = week()
    undated = msgspec.structs.replace(answer, trace=msgspec.structs.replace(answer.trace, start_epoch_s=None))
    chart = figures.load(undated, undated.arrangements[0]).to_dict()
    assert rows(chart)[-1]["t"] == 7.0
    assert "days from the start of the trace" in json.dumps(chart)


def test_token_api_has_no_load() -> None:
    with pytest.raises(ValueError, match="api_standard has no timeline"):
        figures.load(week(), week().arrangements[4])


def test_paid_time_shares_sum_to_one() -> None:
    shares: dict[object, float] = {}
    for row in rows(figures.paid_time(week()).to_dict()):
        shares[row["title"]] = shares.get(row["title"], 0.0) + row["share"]
    assert list(shares.values()) == pytest.approx([1.0] * 4)


def test_frontier_is_pareto_and_labeled() -> None:
    chart = figures.frontier(week()).to_dict()
    edge = [(row["e2e"], row["usd"]) for row in rows(chart, chart["layer"][0])]
    assert [usd for _, usd in edge] == sorted((usd for _, usd in edge), reverse=True)
    assert len(edge) == 6
    named = [(row["title"], row["label"]) for row in rows(chart) if row["named"]]
    assert ("Mix, with backfill", "40 % may wait 4 h") in named
    assert len(named) == len(dict(named)) == 4
