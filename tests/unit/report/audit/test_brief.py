"""The answer on one page."""

import re
from html import unescape
from typing import get_args

import msgspec
from tests.golden.bill_files import ANSWER

from meritorder.records.findings import Audit, FindingKind
from meritorder.report.audit.brief import OWNERS, render
from meritorder.report.audit.record import decode


def golden(**changes: object) -> Audit:
    return msgspec.structs.replace(decode(ANSWER.read_bytes()), **changes)


def words(audit: Audit) -> str:
    body = re.sub(r"(?s)<style>.*?</style>|<[^>]+>", " ", render(audit))
    return " ".join(unescape(body).split())


def test_every_kind_has_an_owner() -> None:
    assert set(OWNERS) == set(get_args(FindingKind))


def test_total_overpaid_and_three_findings() -> None:
    answer = golden()
    text = words(answer)
    assert "Whole bill $2,500" in text
    assert "Overpaid $752.41" in text
    assert [finding.title in text for finding in answer.findings[:4]] == [True, True, True, False]
    rest = sum(finding.usd_per_month for finding in answer.findings[3:])
    assert f"{len(answer.findings) - 3} smaller findings of ${rest:,.2f} in all" in text
    assert text.count("By ") == 3


def test_no_commands_and_no_internal_names() -> None:
    """The person who decides runs no command."""
    text = words(golden())
    assert "meritorder audit" not in text
    assert "_usd" not in text


def test_unread_rows_are_not_known() -> None:
    answer = golden()
    bill = msgspec.structs.replace(answer.bill, refused_rows=4, unread_share=0.2)
    assert "4 of 206 rows could not be read, 20 % of the bill" in words(golden(bill=bill))
    for missing in answer.missing_inputs[:3]:
        assert missing.question in words(answer)


def test_bill_without_findings() -> None:
    text = words(golden(findings=[], missing_inputs=[], overpaid_usd=0.0, overpaid_usd_per_month=0.0))
    assert "Nothing is found to be overpaid." in text
    assert "Nothing that would change these amounts." in text


def test_text_of_the_user_is_escaped() -> None:
    answer = golden()
    attack = msgspec.structs.replace(answer.findings[0], title="<script>alert(1)</script>")
    assert "<script>" not in render(golden(findings=[attack]))
