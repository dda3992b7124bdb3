"""The waterfall of findings and the spend over time as shapes."""

import msgspec
import pytest
from tests.golden.bill_files import ANSWER

from meritorder.records.findings import SpendOverTime
from meritorder.report.audit.figures import HEIGHT, areas, days, peak, waterfall
from meritorder.report.audit.record import decode

SHAPE = SpendOverTime(
    bin_s=3600.0, start_epoch_s=0.0, usd={"on_demand": [1.0, 3.0], "reserved": [1.0, 1.0], "refund": [-5.0, 0.0]}
)


def test_bars_lead_from_paid_to_needed() -> None:
    answer = decode(ANSWER.read_bytes())
    paid, *findings, needed = waterfall(answer)
    assert (paid.title, paid.start, paid.width) == ("Paid", 0.0, 100.0)
    assert needed.width == pytest.approx(100 * answer.optimised_usd / float(answer.inference_usd))
    assert sum(bar.width for bar in findings) + needed.width == pytest.approx(100)
    assert findings[0].start + findings[0].width == pytest.approx(100)
    widths = [bar.width for bar in findings]
    assert widths == sorted(widths, reverse=True)


def test_no_waterfall_without_findings() -> None:
    assert waterfall(msgspec.structs.replace(decode(ANSWER.read_bytes()), findings=[])) == []


def test_areas_are_stacked() -> None:
    """Reservations lie below on demand; the highest hour, 4 dollars, is as high as the figure."""
    other, reserved, on_demand = areas(SHAPE)
    assert [area.title for area in (other, reserved, on_demand)] == ["refunds", "reservations", "on demand"]
    assert peak(SHAPE) == 4.0
    assert on_demand.path.startswith(f"M0.0 {HEIGHT / 2:.1f} L500.0 {HEIGHT / 2:.1f} L500.0 0.0 L1000.0 0.0")
    assert (reserved.color, other.color) == ("savings", "idle")


def test_negative_spend_has_no_height() -> None:
    other, *_ = areas(SHAPE)
    assert set(other.path.replace("M", "").replace("Z", "").split(" L")) == {
        f"{x} {HEIGHT:.1f}" for x in ("0.0", "500.0", "1000.0")
    }


def test_days_are_at_midnight() -> None:
    shape = SpendOverTime(bin_s=3600.0, start_epoch_s=12 * 3600.0, usd={"spot": [1.0] * 48})
    assert [(tick.text, tick.at) for tick in days(shape)] == [("02 Jan", 250.0), ("03 Jan", 750.0)]


def test_long_bills_show_eight_days() -> None:
    shape = SpendOverTime(bin_s=86400.0, start_epoch_s=0.0, usd={"spot": [1.0] * 30})
    assert [tick.text for tick in days(shape)] == [f"{day:02} Jan" for day in range(1, 31, 4)]
