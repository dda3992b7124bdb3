"""The inputs of an audit: its options, the bill as machine hours, and what findings look up beside the ledger."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from meritorder import bills
from meritorder import catalog as facts
from meritorder.study.audit import pools
from meritorder.study.audit.market import Market
from meritorder.study.audit.pools import BilledFleet, BilledMachine
from meritorder.study.audit.usage import MachineUsage, UncalledEndpoints

_DEFAULT_TRACE: Final = "requests.csv"
_DEFAULT_MODEL: Final = "MODEL"


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
        catalogs: Files that add prices or override them.
    """

    bill: tuple[str, ...] = ()
    trace: tuple[str, ...] = ()
    serving: tuple[tuple[str, str], ...] = ()
    metrics: Path | None = None
    model: str = ""
    by: tuple[str, ...] = ()
    catalogs: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCase:
    """A bill with what is derived from it once, for an audit and for the bill's own prices.

    Args:
        bill: The bill.
        options: Options of the audit.
        catalog: Facts, with the user's prices.
        by_hour: The inference charges by the hour, from `bills.hourly_groups`.
        fleet: Machine hours, None if the bill has none.
    """

    bill: bills.Bill
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
    by_hour = bills.hourly_groups(bill.spans, bills.select_inference(bill.groups))
    return AuditCase(
        bill=bill,
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
        model: Model that the machines serve, "" if not stated.
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

    @property
    def plan_command(self) -> str:
        """The command that finds the cheapest plan at the bill's own prices, with its running commitments."""
        words = [f"--bill {shlex.quote(str(path))}" for path in self.bill] or ["--bill BILL"]
        return f"meritorder plan {self._trace} --model {self._model} {' '.join(words)}"

    def compare_command(
        self, machine: BilledMachine | None = None, *, hardware: str = "", region: str = "", more: str = ""
    ) -> str:
        """Return the command that compares arrangements for the trace.

        Args:
            machine: The machine that the trace runs on now, if any.
            hardware: `Hardware.id` to run on, "" for the machine's own.
            region: Region to rent in, "" for any.
            more: Further options.
        """
        known = self.market.hardware_of(machine) if machine else None
        options = {
            "--hardware": hardware or (known[0] if known else ""),
            "--provider": machine.provider if machine else "",
            "--region": region,
        }
        words = [f"{name} {shlex.quote(value)}" for name, value in options.items() if value]
        return " ".join(["meritorder compare", self._trace, f"--model {self._model}", *words, *filter(None, [more])])

    @property
    def _trace(self) -> str:
        return " ".join(map(shlex.quote, self.trace)) or _DEFAULT_TRACE

    @property
    def _model(self) -> str:
        return shlex.quote(self.model) if self.model else _DEFAULT_MODEL
