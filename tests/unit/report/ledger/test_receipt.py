import io
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from rich.console import Console

from meritorder.records.receipts import Receipt, ReceiptPlace, Signature, SignedReceipt
from meritorder.report.ledger import receipt as report

HOSTILE = "<script>alert(1)</script>[bold]"
PLACE = ReceiptPlace(
    venue=HOSTILE,
    price_basis="batch_tokens",
    attempts=3,
    requests=2,
    input_tokens=1_000_000,
    cached_tokens=0,
    output_tokens=100_000,
    lost_tokens=7,
    list_usd=Decimal("2.8"),
    paid_usd=Decimal("1.4"),
)
RECEIPT = Receipt(
    batch_id="batch_1",
    tenant=HOSTILE,
    model="m",
    endpoint="/v1/completions",
    status="completed",
    created_at="2026-11-30T00:00:00+00:00",
    ended_at="2026-11-30T01:00:00+00:00",
    deadline_at="2026-12-01T00:00:00+00:00",
    deadline_kept=True,
    spare_s=82_800.0,
    total=2,
    completed=2,
    failed=0,
    attempts=3,
    input_tokens=1_000_000,
    cached_tokens=0,
    output_tokens=100_000,
    lost_tokens=7,
    list_usd=Decimal("2.8"),
    paid_usd=Decimal("1.4"),
    charged_usd=Decimal("1.4"),
    places=(PLACE,),
    no_saving_because="it was not simulated",
    issued_at="2026-11-30T01:00:05+00:00",
)


def signed(**changes: Any) -> SignedReceipt:  # noqa: ANN401
    signature = Signature(algorithm="HMAC-SHA256", key_id="ab", value="cd")
    return SignedReceipt(receipt=msgspec.structs.replace(RECEIPT, **changes), signature=signature)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "kept, with 23 h to spare"),
        ({"deadline_kept": False, "spare_s": -600.0}, "missed by 10 min"),
        ({"deadline_kept": False, "status": "cancelled"}, "not kept: it is cancelled"),
    ],
)
def test_deadline_in_words(changes: dict[str, Any], says: str) -> None:
    assert says in dict(report.facts(signed(**changes).receipt))["Deadline"]


def test_request_is_named_as_one() -> None:
    alone = signed(batch_id="", request_id="req_1", paid_usd=Decimal("0.00012"), spare_s=None, deadline_at=None).receipt
    assert report.sentence(alone) == "$0.00012 were paid for the request req_1."
    facts = dict(report.facts(alone))
    assert facts["Request"] == "req_1, completed"
    assert facts["Deadline"] == "none: it was answered in real time"


def test_saving_only_with_interval() -> None:
    assert report.saving(RECEIPT) == "No saving is claimed: it was not simulated."
    claimed = signed(saved_usd=Decimal(3), saved_interval=(Decimal(2), Decimal(4))).receipt
    assert report.saving(claimed) == "Saved $3.00 against real time alone: between $2.00 and $4.00."


def test_quote_is_shown_beside_its_charge() -> None:
    quoted = signed(quote_id="quote_1", quoted_usd=Decimal(2), charged_usd=Decimal(2)).receipt
    assert dict(report.facts(quoted))["Charged"] == "$2.00, quoted $2.00 (quote_1)"
    assert "Charged" not in dict(report.facts(RECEIPT))


def test_hostile_text_is_shown_as_text() -> None:
    page = report.page(signed())
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    console = Console(file=io.StringIO(), width=80)
    report.render(signed(), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[bold]" in text
    assert "1.40 USD were paid" in text
    assert max(map(len, text.splitlines())) <= 80
