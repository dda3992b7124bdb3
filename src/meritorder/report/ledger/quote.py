"""A quote of a batch, in a terminal."""

from collections.abc import Iterator
from typing import Final

from rich.console import Console, RenderableType

from meritorder import documents
from meritorder.records.receipts import QUOTE_SCHEMA, Quote
from meritorder.report.ledger.text import table
from meritorder.report.ledger.words import Grid
from meritorder.report.terminal import INDENT, READING_WIDTH, bullets, narrow, plain, section, show
from meritorder.report.wording import MISSING, spaced, usd_cells
from meritorder.units import format_count, format_duration, utc

_HEADINGS: Final = ("May wait", "Venue", "Priced by", "done after", "price")


def decode(body: bytes) -> Quote:
    """Return a quote from its JSON.

    Raises:
        ConfigError: It is something else.
    """
    command = "meritorder batch quote FILE"
    return documents.decode(body, Quote, schema=QUOTE_SCHEMA, what="a quote", command=command, where="/v1/quotes")


def render(quote: Quote, console: Console) -> None:
    """Print a quote, laid out for the width of the console."""
    show(_blocks(quote, console.width - INDENT), console)


def sentence(quote: Quote) -> str:
    """Return what is quoted in one sentence."""
    tokens = f"{quote.input_tokens:,} input and {quote.output_tokens:,} output tokens expected"
    return f"{quote.id}: {format_count(quote.requests, 'request')} to {quote.model}, {tokens}."


def offers(quote: Quote) -> Grid:
    """Return the offers of a quote."""
    listed = quote.offers
    columns = (
        ["now, in real time" if offer.patience == "now" else offer.patience for offer in listed],
        [offer.venue or offer.reason for offer in listed],
        [spaced(offer.price_basis) or MISSING for offer in listed],
        [MISSING if offer.takes_s is None else format_duration(offer.takes_s) for offer in listed],
        usd_cells([offer.usd for offer in listed]),
    )
    return Grid(headings=_HEADINGS, texts=3, rows=tuple(zip(*columns, strict=True)))


def _blocks(quote: Quote, width: int) -> Iterator[RenderableType]:
    reading = min(width, READING_WIDTH)
    yield narrow(plain(sentence(quote), "bold"), reading)
    yield section("What it costs to wait", "", table(offers(quote), width))
    charged = "a batch that uses it is charged this" if quote.honored else "a batch is charged what it costs"
    assumed = [] if all(offer.is_measured for offer in quote.offers if offer.usd is not None) else [_UNMEASURED]
    yield section("Assumed", "", bullets([plain(text) for text in (*quote.assumptions, *assumed)], reading))
    until = utc(quote.expires_at).strftime("%H:%M")
    yield narrow(plain(f"valid until {until} UTC; {charged}"), reading)
    yield plain(f"to use it: meritorder batch submit {quote.id} --window 4h", "dim")


_UNMEASURED: Final = "the speed of venues that have not been measured since the gateway started is a cautious guess"
