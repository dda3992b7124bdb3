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


def test_numbered_points_are_rows_of_table() -> None:
    drawn = rows(figures.frontier(week()).to_dict())
    named = {title: drawn[place]["label"] for place, title in figures.numbered(week()).items()}
    assert list(named) == ["Real time, fixed fleet", "Real time, autoscaled", "Batch", "Mix, with backfill"]
    assert named["Mix, with backfill"] == "40 % may wait 4 h"


def test_touching_points_share_one_number() -> None:
    answer = week()
    fixed, autoscaled, batch, mix = (answer.frontier[place] for place in (0, 2, 8, 5))
    touching = msgspec.structs.replace(
        autoscaled, usd_per_request=1.001 * fixed.usd_per_request, e2e_p50_s=1.01 * fixed.e2e_p50_s
    )
    chart = figures.frontier(msgspec.structs.replace(answer, frontier=[fixed, touching, batch, mix])).to_dict()
    texts = rows(chart, chart["layer"][-1])
    assert [text["number"] for text in texts] == ["1, 2", "3", "4"]


def test_no_feasible_point_leaves_no_frontier() -> None:
    missed = [msgspec.structs.replace(point, keeps_promise=False) for point in week().frontier]
    chart = figures.frontier(msgspec.structs.replace(week(), frontier=missed)).to_dict()
    assert all(chart["datasets"].values())
    with pytest.raises(ValueError, match="no simulated fleet"):
        figures.frontier(msgspec.structs.replace(week(), frontier=[]))
