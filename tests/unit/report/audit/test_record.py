"""The answer as JSON and CSV."""

import csv
import json
from decimal import Decimal
from pathlib import Path

import pytest
from tests.golden.bill_files import ANSWER
from tests.samples.charges import line, machine, write

from meritorder import bills
from meritorder.errors import ConfigError
from meritorder.records.findings import Audit
from meritorder.report.audit.record import decode, encode, to_csv
from meritorder.study.audit.answer import audit


@pytest.fixture
def answer(tmp_path: Path) -> Audit:
    rows = [*machine([0], usd=0.1), *machine([1], usd=0.2, name="i-2"), line("Refund", 0, -0.05)]
    return audit(bills.read(write(tmp_path / "bill.csv", rows)))


def test_dollars_are_exact_numbers(answer: Audit) -> None:
    """0.1 + 0.2 - 0.05 is 0.25, and neither a text nor 0.25000000000000006."""
    document = encode(answer)
    assert b'"total_usd": 0.25,' in document
    assert b'"negative_usd": -0.05,' in document
    assert decode(document).total_usd == Decimal("0.25")


def test_whole_dollars_keep_a_decimal_point(answer: Audit) -> None:
    assert b'"spot_usd": 0.0,' in encode(answer)


def test_answer_survives_a_round_trip() -> None:
    answer = decode(ANSWER.read_bytes())
    assert encode(answer) == ANSWER.read_bytes()
    assert decode(encode(answer)) == answer


def test_missing_inputs_are_written_as_asks(answer: Audit) -> None:
    document = json.loads(encode(answer))
    assert next(iter(document)) == "schema"
    assert "missing_inputs" not in document
    assert [missing["option"] for missing in document["asks"]] == [missing.option for missing in answer.missing_inputs]


def test_other_schema_is_refused(answer: Audit) -> None:
    with pytest.raises(ConfigError, match="again with `meritorder audit`"):
        decode(encode(answer).replace(b"audit/1", b"audit/0"))
    with pytest.raises(ConfigError, match="not an answer"):
        decode(b"{}")


def test_csv_has_a_row_a_finding() -> None:
    answer = decode(ANSWER.read_bytes())
    table = to_csv(answer).splitlines()
    assert table[0].startswith("kind,title,usd_per_month,usd,")
    assert len(table) == 1 + len(answer.findings)
    usd = [row["usd"] for row in csv.DictReader(table)]
    assert usd == [f"{finding.usd:.2f}" for finding in answer.findings]
