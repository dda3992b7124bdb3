"""A receipt of a batch or a request: in a terminal, and as an HTML page that prints on one sheet."""

from collections.abc import Iterator
from typing import Final

from rich.console import Console, RenderableType

from meritorder.records.receipts import Receipt, SignedReceipt
from meritorder.report.ledger.text import table
from meritorder.report.ledger.words import Grid
from meritorder.report.page import fill
from meritorder.report.terminal import INDENT, READING_WIDTH, narrow, plain, section, show, stack, warnings_section
from meritorder.report.wording import MISSING, or_missing, usd_cells
from meritorder.units import format_count, format_duration, format_usd

_TEMPLATE: Final = "receipt.html.j2"
_HEADINGS: Final = ("Venue", "Priced by", "requests", "attempts", "input", "output", "list price", "paid")
_BASES: Final = {"tokens": "tokens", "batch_tokens": "tokens, batch API", "machine": "machine time"}


def render(signed: SignedReceipt, console: Console) -> None:
    """Print a receipt, laid out for the width of the console."""
    show(_blocks(signed, console.width - INDENT), console)


def page(signed: SignedReceipt) -> str:
    """Return a receipt as a whole page, with all text of the user escaped."""
    receipt = signed.receipt
    return fill(
        _TEMPLATE,
        None,
        schema=receipt.schema,
        sentence=sentence(receipt),
        facts=facts(receipt),
        saving=saving(receipt),
        warned=receipt.warnings,
        grid=places(receipt),
        signature=signed.signature,
    )


def sentence(receipt: Receipt) -> str:
    """Return the answer in one sentence."""
    if receipt.request_id:
        return f"{format_usd(receipt.paid_usd)} were paid for the request {receipt.request_id}."
    requests = format_count(receipt.total, "request")
    return f"{receipt.paid_usd:,.2f} USD were paid for the {requests} of {receipt.batch_id}."


def facts(receipt: Receipt) -> tuple[tuple[str, str], ...]:
    """Return what a receipt says, each with its title."""
    quoted: tuple[tuple[str, str], ...] = ()
    if receipt.quoted_usd is not None:
        charged = f"{format_usd(receipt.charged_usd)}, quoted {format_usd(receipt.quoted_usd)} ({receipt.quote_id})"
        quoted = (("Charged", charged),)
    lost = f", {receipt.lost_tokens:,} lost by attempts that were cut off" if receipt.lost_tokens else ""
    return (
        ("Request" if receipt.request_id else "Batch", f"{receipt.request_id or receipt.batch_id}, {receipt.status}"),
        ("Tenant", receipt.tenant),
        ("Model", receipt.model or MISSING),
        ("Endpoint", receipt.endpoint),
        ("Requests", f"{receipt.completed:,} completed, {receipt.failed:,} failed, {receipt.attempts:,} attempts"),
        ("Tokens", f"{receipt.input_tokens:,} input, {receipt.output_tokens:,} output{lost}"),
        ("List price", or_missing(receipt.list_usd, format_usd)),
        ("Paid", format_usd(receipt.paid_usd)),
        *quoted,
        ("Created", receipt.created_at),
        ("Ended", receipt.ended_at),
        ("Deadline", _deadline(receipt)),
        ("Issued", receipt.issued_at),
    )


def _deadline(receipt: Receipt) -> str:
    if receipt.spare_s is None:
        return "none: it was answered in real time"
    spare = format_duration(abs(receipt.spare_s))
    if receipt.deadline_kept:
        kept = f"kept, with {spare} to spare"
    else:
        kept = f"missed by {spare}" if receipt.spare_s < 0 else f"not kept: it is {receipt.status}"
    return f"{receipt.deadline_at}: {kept}"


def saving(receipt: Receipt) -> str:
    """Return what was saved, or why nothing is claimed."""
    if receipt.saved_usd is None or receipt.saved_interval is None:
        return f"No saving is claimed: {receipt.no_saving_because}."
    if receipt.counterfactual_method:
        real_time = format_usd(receipt.counterfactual_usd or 0)
        saved = format_usd(receipt.saved_usd)
        return f"Saved {saved} against real time, which would have cost {real_time}: {receipt.counterfactual_method}."
    low, high = (format_usd(usd) for usd in receipt.saved_interval)
    return f"Saved {format_usd(receipt.saved_usd)} against real time alone: between {low} and {high}."


def places(receipt: Receipt) -> Grid:
    """Return what was paid by venue."""
    used = receipt.places
    columns = (
        [place.venue or MISSING for place in used],
        [_BASES.get(place.price_basis, MISSING) for place in used],
        *(
            [f"{getattr(place, name):,}" for place in used]
            for name in ("requests", "attempts", "input_tokens", "output_tokens")
        ),
        usd_cells([place.list_usd for place in used]),
        usd_cells([place.paid_usd for place in used]),
    )
    return Grid(headings=_HEADINGS, texts=2, rows=tuple(zip(*columns, strict=True)))


def _blocks(signed: SignedReceipt, width: int) -> Iterator[RenderableType]:
    receipt, reading = signed.receipt, min(width, READING_WIDTH)
    lines = (f"{title + ':':<11} {text}" for title, text in facts(receipt))
    yield stack(narrow(plain(sentence(receipt), "bold"), reading), *(plain(line) for line in lines))
    yield narrow(plain(saving(receipt)), reading)
    if receipt.warnings:
        yield warnings_section(receipt.warnings, reading)
    if receipt.places:
        yield section("By venue", "", table(places(receipt), width))
    yield plain(f"signed: {signed.signature.algorithm}, key {signed.signature.key_id}", "dim")
