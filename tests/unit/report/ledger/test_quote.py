import io
import json
from decimal import Decimal

import pytest
from rich.console import Console

from meritorder import documents
from meritorder.errors import ConfigError
from meritorder.records.receipts import Quote, QuoteOffer
from meritorder.report.ledger import quote as report

OFFER = QuoteOffer(
    patience="now",
    usd=Decimal("3.5"),
    done_at="2026-11-30T00:10:00+00:00",
    takes_s=600.0,
    venue="[bold]gpu",
    price_basis="batch_tokens",
)
QUOTE = Quote(
    id="quote_1",
    input_file_id="file-1",
    endpoint="/v1/completions",
    model="m",
    requests=1,
    input_tokens=10,
    output_tokens=5,
    created_at=0,
    expires_at=900,
    honored=True,
    offers=(OFFER, QuoteOffer(patience="15m", reason="no way with a price ends within it")),
    assumptions=("answers are as long as their limits",),
)


def test_quote_in_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=100)
    report.render(report.decode(documents.encode(QUOTE)), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("quote_1: 1 request to m", "[bold]gpu", "batch tokens", "10 min", "$3.50", "no way with a price"):
        assert part in text
    assert "valid until 00:15 UTC; a batch that uses it is charged this" in text
    assert "a cautious guess" in text


def test_other_json_is_no_quote() -> None:
    with pytest.raises(ConfigError, match="not a quote"):
        report.decode(json.dumps({"schema": "meritorder.plan/1"}).encode())
