"""The shared parts of figures: time axes with and without dates, steps that end, colors by kind."""

from meritorder.report.figures import LIGHT, PRICING, TimeAxis, color_scale, pricing_kind, step_rows


def test_undated_axis_counts_from_start() -> None:
    hours = TimeAxis(start_epoch_s=None, span_s=4 * 3600.0)
    assert hours.field == "t:Q"
    assert hours.value(7200.0) == 2.0
    assert hours.text(1800.0) == "30 min"
    assert hours.x("plan").to_dict()["axis"]["title"] == "hours from the start of the plan"


def test_dated_axis_counts_in_milliseconds() -> None:
    dated = TimeAxis(start_epoch_s=86_400.0, span_s=3600.0)
    assert dated.field == "t:T"
    assert dated.value(1.0) == 86_401_000.0
    assert dated.text(3600.0) == "Fri 02 Jan 01:00"


def test_last_step_reaches_its_end() -> None:
    rows = step_rows([{"t": 0.0}, {"t": 1.0}], 3.0)
    assert rows == [{"t": 0.0, "until": 1.0}, {"t": 1.0, "until": 3.0}, {"t": 3.0, "until": 3.0}]
    assert step_rows([], 3.0) == []


def test_kinds_have_their_palette_colors() -> None:
    scale = color_scale(("realtime", "idle"), LIGHT).to_dict()
    assert scale == {"domain": ["realtime", "idle"], "range": [LIGHT.realtime, LIGHT.idle]}


def test_every_pricing_model_has_color() -> None:
    known = ("owned", "reserved", "committed_use", "capacity_block", "savings_plan", "on_demand", "spot", "tokens_flex")
    assert {pricing_kind(name) for name in known} == set(PRICING)
    assert pricing_kind("carbon") == "idle"
