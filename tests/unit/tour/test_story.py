import polars as pl
from bench.tour.outcome import Served
from bench.tour.story import _saving


def _served(paid_usd: float, **fields: object) -> Served:
    uses = {"busy": 0.25 * paid_usd, "starting": 0.0, "idle": 0.75 * paid_usd}
    report = {
        "paid_usd": paid_usd,
        "by_use": [{"use": use, "paid_usd": usd} for use, usd in uses.items()],
        "deadlines": {"kept": 4, "missed": 1},
        "saved_usd": None,
        "no_saving_because": "it was not simulated",
    }
    return Served(report=report | fields, rows=pl.DataFrame({"request_id": [str(number) for number in range(10)]}))


def test_cost_of_request_is_compared() -> None:
    text = "\n".join(_saving(_served(0.08), _served(0.04)))
    assert "$0.008 " in text
    assert "$0.004 " in text
    assert "50 % less" in text
    assert "4 in time, 1 late" in text


def test_dearer_plan_is_not_hidden() -> None:
    assert "25 % more" in "\n".join(_saving(_served(0.08), _served(0.10)))


def test_saving_is_stated_with_interval() -> None:
    planned = _served(0.04, saved_usd=0.03, counterfactual_usd=0.07, saved_interval=[0.02, 0.035])
    text = "\n".join(_saving(_served(0.08), planned))
    assert "the plan saved $0.03." in text
    assert "saved $0.02 to $0.035" in text


def test_saving_of_unknown_error_has_no_interval() -> None:
    planned = _served(0.04, saved_usd=0.03, counterfactual_usd=0.07, saved_interval=None)
    assert "was off" not in "\n".join(_saving(_served(0.08), planned))


def test_missing_saving_has_its_reason() -> None:
    assert "no saving is claimed, since it was not simulated" in "\n".join(_saving(_served(0.08), _served(0.04)))


def test_busy_leaves_out_starts() -> None:
    assert _served(0.08).busy == 0.25
