"""The terms of a bill for a plan: the prices that it paid as offers, and its running commitments as sunk cost."""

import csv
import dataclasses
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import polars as pl

from meritorder import bills
from meritorder.bills import PurchaseOption
from meritorder.catalog import Catalog
from meritorder.domain import PricingModel
from meritorder.offers import Offer
from meritorder.planner.model.supply import Reserved, SavingsPlan, machine_key
from meritorder.study.audit import pools
from meritorder.study.audit.market import Market
from meritorder.study.audit.pools import BilledFleet, BilledMachine
from meritorder.units import SECONDS_PER_HOUR

_TERM: Final = re.compile(r"(?i)\b([13])[ -]?y(?:ea)?r")
_COMMITMENTS: Final = tuple(
    str(option) for option in (PurchaseOption.RESERVED, PurchaseOption.COMMITTED_USE, PurchaseOption.SAVINGS_PLAN)
)
_DIGITS: Final = 6
"""Digits of a price after the point, as in price lists."""
_PAYMENT: Final = re.compile(r"(?i)(no|partial|all)[ _-]?upfront")


@dataclass(frozen=True, slots=True, kw_only=True)
class BillTerms:
    """The prices and running commitments of a bill.

    Args:
        offers: Prices as paid: on demand after discounts, spot on average, and the rates of commitments.
        reserved: Running reservations and committed use: machines that exist, none to be bought.
        savings_plans: Running savings plans: dollars an hour that are committed, none to be added.
        notes: What could not be included, and why.
        used_shares: Share of each commitment's cost that the bill's own usage takes, by name.
    """

    offers: tuple[Offer, ...]
    reserved: tuple[Reserved, ...]
    savings_plans: tuple[SavingsPlan, ...]
    notes: tuple[str, ...]
    used_shares: Mapping[str, float] = field(default_factory=dict)

    def in_catalog(self, catalog: Catalog) -> Catalog:
        """Return a catalog in which the bill's prices replace list prices of the same machines."""
        own = {_key(offer) for offer in self.offers}
        others = tuple(offer for offer in catalog.offers if _key(offer) not in own)
        return replace(catalog, offers=(*self.offers, *others))


def to_have_file(terms: BillTerms) -> str:
    """Return running commitments as TOML, which `plan --have` reads."""
    places = {machine_key(offer): offer for offer in terms.offers}
    lines: list[str] = []
    for reserved in terms.reserved:
        offer = places[reserved.machine]
        lines += [
            "[[machines]]",
            f"# {reserved.name}",
            *(f"{name} = {json.dumps(getattr(offer, name))}" for name in ("provider", "region", "instance")),
            f"machines = {reserved.held}",
            f"kind = {json.dumps(reserved.kind)}",
            "",
        ]
    for plan in terms.savings_plans:
        rates = {machine: usd for machine, usd in plan.usd_per_hour.items() if machine in places}
        if not rates:
            continue
        provider = places[next(iter(rates))].provider
        named = ", ".join(f"{json.dumps(name.removeprefix(provider).strip())} = {usd!r}" for name, usd in rates.items())
        lines += [
            "[[savings_plan]]",
            f"name = {json.dumps(plan.name)}",
            f"provider = {json.dumps(provider)}",
            f"usd_per_hour = {plan.held_usd_per_hour!r}",
            f"rates = {{ {named} }}",
            "",
        ]
    return "\n".join(lines)


def to_catalog_file(offers: Iterable[Offer]) -> str:
    """Return offers as CSV, which `--catalog` of any command reads."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(Offer)], lineterminator="\n")
    writer.writeheader()
    for offer in offers:
        values = dataclasses.asdict(offer)
        values["sizes"] = "/".join(map(str, offer.sizes))
        writer.writerow({name: "" if value is None else value for name, value in values.items()})
    return text.getvalue()


def _key(offer: Offer) -> tuple[str, str, str, PricingModel]:
    return offer.provider, offer.region, offer.instance, offer.pricing_model


def read_terms(bill: bills.Bill, catalog: Catalog) -> BillTerms:
    """Return a bill's prices and running commitments; arguments as for `terms_of_fleet`."""
    by_hour = bills.hourly_groups(bill.spans, bills.select_inference(bill.groups))
    return terms_of_fleet(bill, pools.read_fleet(bill, by_hour), catalog)


def terms_of_fleet(bill: bills.Bill, fleet: BilledFleet | None, catalog: Catalog) -> BillTerms:
    """Return the prices and running commitments of a bill whose machine hours are known.

    Args:
        bill: The bill.
        fleet: Its machine hours.
        catalog: The GPUs of machines, and how often spot machines are interrupted; machines without are left out.
    """
    if fleet is None:
        return BillTerms(offers=(), reserved=(), savings_plans=(), notes=("the bill has no machine hours",))
    groups = bills.select_inference(bill.groups)
    until = bill.report.period_end or fleet.start
    market = Market(catalog=catalog, rates=fleet.rates, until=until)
    notes: dict[str, None] = {}
    offers = _Offers(market=market, source=f"bill {', '.join(file.label for file in bill.report.files)}", notes=notes)
    paid_offers = [offers.make(*price) for price in _paid_prices(fleet)]
    return BillTerms(
        offers=tuple(offer for offer in paid_offers if offer),
        reserved=tuple(_reserved(groups, fleet, offers)),
        savings_plans=tuple(_savings_plans(groups, fleet)),
        notes=tuple(notes),
        used_shares={
            row["commitment"]: float(row["used_usd"] / (row["used_usd"] + row["unused_usd"]))
            for row, _ in _running(groups, _COMMITMENTS)
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offers:
    """Makes offers of machines; notes those whose GPUs are not known, and keeps the keys of the others in `known`."""

    market: Market
    source: str
    notes: dict[str, None]
    known: set[str] = field(default_factory=set)

    def make(self, machine: BilledMachine, pricing_model: PricingModel, usd_per_hour: float) -> Offer | None:
        known = self.market.hardware_of(machine)
        if known is None:
            self.notes[f"the GPUs of {machine.label} are not in the catalog; --catalog FILE adds them"] = None
            return None
        hardware, gpus = known
        self.known.add(machine.key)
        spot = pricing_model is PricingModel.SPOT
        return Offer(
            provider=machine.provider,
            region=machine.region,
            instance=machine.instance,
            hardware=hardware,
            gpus=gpus,
            pricing_model=pricing_model,
            usd_per_hour=round(usd_per_hour, _DIGITS),
            interruptions_per_month=self.market.interruptions_per_month(machine) if spot else None,
            as_of=f"{self.market.until:%Y-%m-%d}",
            source=self.source,
            confidence="high",
        )


def _paid_prices(fleet: BilledFleet) -> Iterator[tuple[BilledMachine, PricingModel, float]]:
    """Yield the price paid for an hour of each machine under each pricing model."""
    hours: dict[BilledMachine, float] = {}
    usd: dict[BilledMachine, float] = {}
    for pool in fleet.pools:
        hours[pool.machine] = hours.get(pool.machine, 0.0) + float(pool.on_demand.sum())
        usd[pool.machine] = usd.get(pool.machine, 0.0) + pool.usd
    for machine, amount in usd.items():
        if amount > 0:
            yield machine, PricingModel.ON_DEMAND, amount / hours[machine]
    for pricing_model, rates in (
        (PricingModel.SPOT, fleet.rates.spot),
        (PricingModel.RESERVED, fleet.rates.reserved),
        (PricingModel.SAVINGS_PLAN, fleet.rates.savings_plan),
    ):
        for machine, rate in rates.items():
            yield machine, pricing_model, rate


def _reserved(groups: pl.DataFrame, fleet: BilledFleet, offers: _Offers) -> Iterator[Reserved]:
    """Yield reservations, with the number of machines that their cost pays for at their rate.

    machines = (used + unused dollars) / (rate * hours)
    """
    kinds = {str(PurchaseOption.RESERVED): "reserved", str(PurchaseOption.COMMITTED_USE): "committed_use"}
    for row, rows in _running(groups, tuple(kinds)):
        machines = rows.filter(pl.col("instance_type").is_not_null())
        if machines.is_empty():
            offers.notes[f"{row['commitment']} names no machine"] = None
            continue
        provider, region, instance = machines.select("provider", "region", "instance_type").row(0)
        machine = BilledMachine(provider=provider or "", region=region or "", instance=instance)
        rate = fleet.rates.reserved.get(machine)
        if rate is None:
            offers.notes[f"{row['commitment']} on {machine.label} was never used, so its rate is not known"] = None
            continue
        count = round(float(row["used_usd"] + row["unused_usd"]) / (rate * _hours(rows, fleet)))
        term, payment = _term(rows)
        if not count or machine.key not in offers.known:
            continue
        yield Reserved(
            name=row["commitment"],
            machine=machine.key,
            usd_per_hour=round(rate, _DIGITS),
            term=term,
            payment=payment,
            held=count,
            max_machines=0,
            kind=kinds[row["purchase"]],
        )


def _savings_plans(groups: pl.DataFrame, fleet: BilledFleet) -> Iterator[SavingsPlan]:
    """Yield savings plans: dollars an hour, and the rates of the machines that they covered."""
    for row, rows in _running(groups, (str(PurchaseOption.SAVINGS_PLAN),)):
        instances, rates = set(row["instance_types"]), fleet.rates.savings_plan
        scope = {machine.key: round(rate, _DIGITS) for machine, rate in rates.items() if machine.instance in instances}
        term, payment = _term(rows)
        yield SavingsPlan(
            name=row["commitment"],
            usd_per_hour=scope,
            term=term,
            payment=payment,
            held_usd_per_hour=float(row["used_usd"] + row["unused_usd"]) / _hours(rows, fleet),
            max_usd_per_hour=0.0,
        )


def _running(groups: pl.DataFrame, purchases: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], pl.DataFrame]]:
    """Yield the commitments under these purchase options that have a cost, each with its rows."""
    for row in bills.sum_commitments(groups).filter(pl.col("purchase").is_in(purchases)).iter_rows(named=True):
        if row["commitment"] and row["used_usd"] + row["unused_usd"] > 0:
            yield row, groups.filter(pl.col("commitment") == row["commitment"])


def _hours(rows: pl.DataFrame, fleet: BilledFleet) -> float:
    """Return the hours of the bill in which a commitment runs."""
    first, last = rows["first"].min(), rows["last"].max()
    span_s = (last - first).total_seconds()  # type: ignore[operator, union-attr]
    return max(1.0, min(span_s / SECONDS_PER_HOUR, float(fleet.hours)))


def _term(rows: pl.DataFrame) -> tuple[str, str]:
    """Return the term and the payment option of a commitment, "" if the bill's texts do not show them."""
    words = " ".join(rows.select(pl.concat_str("sku", "description", ignore_nulls=True))["sku"].drop_nulls())
    term, payment = _TERM.search(words), _PAYMENT.search(words)
    return f"{term[1]}y" if term else "", f"{payment[1].lower()}_upfront" if payment else ""
