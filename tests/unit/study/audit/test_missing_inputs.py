"""Questions that the bill alone cannot answer."""

import pytest
from tests.samples.charges import machine
from tests.unit.study.audit.conftest import MONTH, WEEKS, Audited


def test_missing_inputs_are_named(audited: Audited) -> None:
    answer = audited(machine(MONTH))
    assert answer.missing_inputs[0].option == "--trace requests.csv or --metrics gpu.csv"
    assert answer.missing_inputs[0].usd_per_month == pytest.approx(WEEKS * 55.04)
    assert any("commitment to p5.48xlarge" in missing.question for missing in answer.missing_inputs)
