"""The whole answer of an audit."""

from itertools import chain

import pytest
from tests.samples.charges import line, machine, reservation
from tests.unit.study.audit.conftest import Audited, only


def test_month_is_the_mean_of_months(audited: Audited) -> None:
    two = [row | {"bill_billing_period_start_date": "2026-09-01T00:00:00Z"} for row in machine(range(300))]
    rows = chain(two, machine(range(300, 600), name="i-2"))
    answer = audited(chain(rows, reservation(range(100), 400, instance="g5.12xlarge", rate=3.5, listed=5.672)))
    found = only(answer, "commitment_wrong_family")
    assert answer.bill.months == 2
    assert found.usd_per_month == pytest.approx(found.usd / 2)
    assert any("mean of the 2" in assumption.text for assumption in answer.assumptions)


def test_bill_without_inference(audited: Audited) -> None:
    answer = audited([line("Usage", 0, 5.0, line_item_product_code="AmazonS3", line_item_usage_type="Storage")])
    assert (answer.inference_usd, answer.findings, answer.effective_savings_rate) == (0.0, [], None)
    assert "--select" in answer.sentence
