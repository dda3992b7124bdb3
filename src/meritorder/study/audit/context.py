"""The inputs of an audit: its options, the bill as machine hours, and what findings look up beside the ledger."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from meritorder import bills
from meritorder import catalog as facts
from meritorder.bills.metrics.utilization import UtilizationMetrics
from meritorder.inputs.arguments import convert_arguments
from meritorder.study.audit import pools
from meritorder.study.audit.listed_usage import ListedUsage, price_usage
from meritorder.study.audit.market import Market
from meritorder.study.audit.pools import BilledFleet, BilledMachine
from meritorder.study.audit.usage import MachineUsage, UncalledEndpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """Options of an audit.

    Args:
        bill: The bill's files, as the user named them, for the commands that findings recommend.
        trace: The trace's files, as the user named them.
        serving: Machines that served the trace, as (column, glob) or ("tag:KEY", glob); empty selects those in real
            time.
        metrics: Utilization metrics.
        model: Model that the machines serve, "" if not stated.
        by: Columns or tags (`tag:team`) to break costs down by.
        catalogs: Files that add prices or override them, and rates of currencies.
    """

    bill: tuple[str, ...] = ()
    trace: tuple[str, ...] = ()
    serving: tuple[tuple[str, str], ...] = ()
    metrics: Path | UtilizationMetrics | None = None
    model: str = ""
    by: tuple[str, ...] = ()
    catalogs: tuple[facts.Source, ...] = ()

    def __post_init__(self) -> None:
        convert_arguments(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCase:
    """A bill with what is derived from it once, for an audit and for the bill's own prices.

    Args:
        bill: The bill, with its unpriced usage at list prices.
        listed: What was priced at list.
        options: Options of the audit.
        catalog: Facts, with the user's prices.
        by_hour: The inference charges by the hour, from `bills.hourly_groups`.
        fleet: Machine hours, None if the bill has none.
    """

    bill: bills.Bill
    listed: ListedUsage
    options: AuditOptions
    catalog: facts.Catalog
    by_hour: pl.DataFrame
    fleet: BilledFleet | None


def build_case(bill: bills.Bill, options: AuditOptions) -> AuditCase:
    """Return a bill with its machine hours and the catalog.

    Raises:
        BillError: `options.serving` names a column that does not exist.
        CatalogError: A catalog file cannot be read.
    """
    listed = price_usage(bill)
    bill = listed.bill
    by_hour = bills.hourly_groups(bill.spans, bills.select_inference(bill.groups))
    return AuditCase(
        bill=bill,
        listed=listed,
        options=options,
        catalog=facts.load(options.catalogs),
        by_hour=by_hour,
        fleet=pools.read_fleet(bill, by_hour, options.serving),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditContext:
    """What findings look up beside the ledger, and the commands that they recommend.

    Args:
        market: Prices.
        usage: How much of the machines was used; None if only the bill is known.
        bill: The bill's files, as the user named them.
        trace: The trace's files, as the user named them.
        model: Model of the catalog that the machines serve, "" if not stated.
        uncalled: Endpoints that are no longer called.
    """

    market: Market
    usage: MachineUsage | None
    bill: tuple[Path | str, ...]
    trace: tuple[str, ...] = ()
    model: str = ""
    uncalled: UncalledEndpoints = field(default_factory=UncalledEndpoints)

    @property
    def bill_arguments(self) -> str:
        """The bill, as arguments of a command."""
        return " ".join(shlex.quote(str(path)) for path in self.bill)

    def plan_advice(self, purpose: str) -> str:
        """Return how to find the cheapest plan at the bill's own prices, with a command that runs as it is.

        Args:
            purpose: What the plan is for, in words.
        """
        if self._can_simulate:
            bill = " ".join(f"--bill {shlex.quote(str(path))}" for path in self.bill)
            return f"{purpose}: meritorder plan {self._trace} --model {shlex.quote(self.model)} {bill}"
        return (
            f"{purpose} with `plan` on your requests, at the prices and commitments that this writes: "
            f"meritorder audit {self.bill_arguments} --rates rates.csv --held held.toml"
        )

    def compare_advice(
        self, machine: BilledMachine | None = None, *, hardware: str = "", region: str = "", more: str = ""
    ) -> str:
        """Return how to compare arrangements, or prices if requests and model are not known, with a command that runs.

        Args:
            machine: The machine that the work runs on now, if any.
            hardware: `Hardware.id` to run on, "" for the machine's own.
            region: Region to rent in, "" for any.
            more: Further options of `compare`.
        """
        known = self.market.hardware_of(machine) if machine else None
        options = {
            "--hardware": hardware or (known[0] if known else ""),
            "--provider": machine.provider if machine and known else "",
            "--region": region,
        }
        words = [f"{name} {shlex.quote(value)}" for name, value in options.items() if value]
        if self._can_simulate:
            model = f"--model {shlex.quote(self.model)}"
            command = " ".join(["meritorder compare", self._trace, model, *words, *filter(None, [more])])
            return f"price it on your requests: {command}"
        if words:
            return f"see the prices: {' '.join(['meritorder prices', *words])}"
        return f"see what it is spent on: meritorder audit {self.bill_arguments} --by instance_type"

    @property
    def _can_simulate(self) -> bool:
        return bool(self.trace and self.model)

    @property
    def _trace(self) -> str:
        return " ".join(map(shlex.quote, self.trace))
