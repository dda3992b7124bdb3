"""What the ledger says was paid, against the invoice: what matches, what differs, and why."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import polars as pl

from meritorder import bills
from meritorder.bills.selection import tag_pairs
from meritorder.errors import BillError
from meritorder.metering.capacity import US_PER_S
from meritorder.records.accounting import BillDifference, BillLine, BillMatch
from meritorder.study.ledger.costing import CostedLedger, Period
from meritorder.study.ledger.summary import cost_sums, work_sums
from meritorder.units import SECONDS_PER_HOUR, TOKENS_PER_MTOK, exact_usd, format_usd

CENT: Final = Decimal("0.01")
_NOTHING: Final = "the ledger has nothing in the period of the bill"
_HALF_CENT: Final = CENT / 2
_VENUE_TAGS: Final = ("venue", "meritorder_venue")
_HOURS: Final = frozenset({"h", "hr", "hrs", "hour", "hours"})
_TOKENS: Final = {
    **dict.fromkeys(("token", "tokens"), 1),
    **dict.fromkeys(("1k tokens", "1000 tokens", "thousand tokens"), 1_000),
    **dict.fromkeys(("1m tokens", "1000000 tokens", "million tokens"), TOKENS_PER_MTOK),
}


@dataclass(slots=True)
class _Side:
    """What one side says of a line: dollars, and hours or tokens; None where a charge has no such quantity."""

    usd: Decimal = Decimal(0)
    hours: float | None = 0.0
    tokens: float | None = 0.0


@dataclass(slots=True)
class _Venue:
    """What the ledger says of a venue, and by which names a bill may call it."""

    side: _Side = field(default_factory=_Side)
    machines: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)


def read_bill(sources: Sequence[str]) -> bills.Bill:
    """Return the bill of files as `audit` reads them.

    Raises:
        BillError: They are no bill.
    """
    return bills.read(sources, group_by=("resource",))


def period_of(bill: bills.Bill) -> Period:
    """Return the period of a bill.

    Raises:
        BillError: None of its charges has a time.
    """
    report = bill.report
    if report.period_start is None or report.period_end is None:
        raise BillError("no charge has a time", where="--bill", fix="give a bill with times")
    return Period(from_s=report.period_start.timestamp(), to_s=report.period_end.timestamp())


def reconcile(costed: CostedLedger, bill: bills.Bill) -> BillMatch:
    """Compare what a ledger says was paid within a bill's period with the bill.

    A charge belongs to the venue that is its resource or its tag `venue`; else to the venues on its type of machine, or
    to those that served its model by tokens. Charges and venues that belong together are one line.
    """
    venues = _venues(costed)
    charges = bill.groups.filter(pl.col("refused").is_null(), ~pl.col("bought")).to_dicts()
    owners = [_owners(charge, venues) for charge in charges]
    merged = _merged([owner for owner in owners if owner])
    lines: defaultdict[str, tuple[_Side, _Side]] = defaultdict(lambda: (_Side(), _Side()))
    for name, venue in venues.items():
        _add(lines[merged.get(name, name)][0], venue.side)
    other = Decimal(0)
    for charge, owner in zip(charges, owners, strict=True):
        if owner:
            _add(lines[merged[owner[0]]][1], _billed(charge))
        elif charge["kind"] is not None:
            _add(lines[_described(charge)][1], _billed(charge))
        else:
            other += charge["amortised_usd"]
    compared = tuple(
        _line(what, ledger, billed)
        for what, (ledger, billed) in sorted(lines.items(), key=lambda line: (-max(s.usd for s in line[1]), line[0]))
        if ledger.usd or billed.usd
    )
    return BillMatch(
        files=tuple(file.name for file in bill.report.files),
        ledger_usd=sum((line.ledger_usd for line in compared), Decimal(0)),
        bill_usd=sum((line.bill_usd for line in compared), Decimal(0)),
        difference_usd=sum((line.difference_usd for line in compared), Decimal(0)),
        matched_usd=sum((line.bill_usd for line in compared if not line.reasons), Decimal(0)),
        other_usd=other,
        lines=compared,
        warnings=(*bill.report.warnings, *((_NOTHING,) if not any(line.ledger_usd for line in compared) else ())),
    )


def _venues(costed: CostedLedger) -> Mapping[str, _Venue]:
    venues: defaultdict[str, _Venue] = defaultdict(_Venue)
    for name, picousd in cost_sums(costed, ("venue",)).iter_rows():
        venues[str(name)].side.usd = exact_usd(picousd)
    for span in costed.paid:
        side = venues[span.venue].side
        side.hours = (side.hours or 0.0) + (span.end_us - span.start_us) / US_PER_S / SECONDS_PER_HOUR
    for record in costed.capacity:
        venues[record.venue].machines.add(" ".join(record.machine.lower().split()))
    work = work_sums(costed, ("venue", "model")).select("venue", "model", "input_tokens", "output_tokens")
    for name, model, input_tokens, output_tokens in work.iter_rows():
        venue = venues[str(name or "")]
        venue.models.add(str(model).lower())
        venue.side.tokens = (venue.side.tokens or 0.0) + input_tokens + output_tokens
    return venues


def _owners(charge: Mapping[str, Any], venues: Mapping[str, _Venue]) -> list[str]:
    """Return the venues that a charge may belong to, by the closest of its names."""
    tags = tag_pairs(charge["tags"])
    named = {charge["resource"], *(tags.get(name) for name in _VENUE_TAGS)} - {None, ""}
    direct = [name for name in venues if name in named]
    if direct:
        return sorted(direct)
    machine, model = (charge[name] or "" for name in ("instance_type", "model"))
    if machine:
        return sorted(name for name, venue in venues.items() if _runs_on(venue, machine.lower()))
    if model:
        return sorted(name for name, venue in venues.items() if not venue.machines and _serves(venue, model.lower()))
    return []


def _runs_on(venue: _Venue, machine: str) -> bool:
    """Return whether one of a venue's machines is called like the machine of a charge: as whole words."""
    return any(f" {machine} " in f" {name} " for name in venue.machines)


def _serves(venue: _Venue, model: str) -> bool:
    return any(name == model or name.endswith(f"/{model}") or model.endswith(f"/{name}") for name in venue.models)


def _merged(owners: Iterable[Sequence[str]]) -> Mapping[str, str]:
    """Return the line of each venue that some charge belongs to: venues that share a charge share a line."""
    groups: list[set[str]] = []
    for owner in owners:
        joined = set(owner)
        apart = []
        for group in groups:
            if group & joined:
                joined |= group
            else:
                apart.append(group)
        groups = [*apart, joined]
    return {name: ", ".join(sorted(group)) for group in groups for name in group}


def _billed(charge: Mapping[str, Any]) -> _Side:
    unit = (charge["unit"] or "").strip().lower()
    quantity = charge["quantity"]
    return _Side(
        usd=charge["amortised_usd"],
        hours=quantity if unit in _HOURS else None,
        tokens=quantity * _TOKENS[unit] if quantity is not None and unit in _TOKENS else None,
    )


def _add(total: _Side, more: _Side) -> None:
    total.usd += more.usd
    if total.hours is not None:
        total.hours = None if more.hours is None else total.hours + more.hours
    if total.tokens is not None:
        total.tokens = None if more.tokens is None else total.tokens + more.tokens


def _described(charge: Mapping[str, Any]) -> str:
    names = (charge["instance_type"] or charge["model"] or charge["sku"], charge["resource"], charge["region"])
    return " ".join(str(name) for name in (charge["provider"], *names) if name) or charge["service"] or "unnamed"


def _line(what: str, ledger: _Side, billed: _Side) -> BillLine:
    difference = billed.usd - ledger.usd
    reasons = tuple(_reasons(ledger, billed, difference)) if abs(difference) >= _HALF_CENT else ()
    return BillLine(
        what=what,
        ledger_usd=ledger.usd,
        bill_usd=billed.usd,
        difference_usd=difference,
        ledger_hours=ledger.hours or None,
        bill_hours=billed.hours or None,
        reasons=reasons,
    )


def _reasons(ledger: _Side, billed: _Side, difference: Decimal) -> Iterator[BillDifference]:
    """Yield why a line differs: by the quantity at the ledger's price, the rest by the price; they sum to it."""
    if not ledger.usd:
        yield BillDifference(why="the ledger has nothing of it", usd=difference)
        return
    if not billed.usd:
        yield BillDifference(why="the bill has nothing of it", usd=difference)
        return
    for unit, ours, theirs in (("hour", ledger.hours, billed.hours), ("token", ledger.tokens, billed.tokens)):
        if not ours or not theirs:
            continue
        paid, charged = ledger.usd / Decimal(ours), billed.usd / Decimal(theirs)
        by_quantity = ((Decimal(theirs) - Decimal(ours)) * paid).quantize(Decimal("1e-12"))
        if abs(by_quantity) >= _HALF_CENT:
            yield BillDifference(
                why=f"{theirs:,.2f} {unit}s were billed, {ours:,.2f} are in the ledger", usd=by_quantity
            )
        if abs(difference - by_quantity) >= _HALF_CENT:
            scale, per = (1, "an hour") if unit == "hour" else (TOKENS_PER_MTOK, "a million tokens")
            prices = f"{format_usd(charged * scale)} {per} were billed, {format_usd(paid * scale)} are in the ledger"
            yield BillDifference(why=prices, usd=difference - by_quantity)
        return
    yield BillDifference(why="the amounts differ; the bill does not say how much was used", usd=difference)
