"""What is held already: machines and savings plans, from a file or from a bill. Sunk: used first, never bought twice.

[[machines]]
provider = "aws"
region = "us-east-1"
instance = "p5.48xlarge"
machines = 2
kind = "reserved"

[[savings_plan]]
name = "compute"
provider = "aws"
usd_per_hour = 40.0
rates = { "us-east-1 p5.48xlarge" = 28.5 }
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from meritorder.catalog import Catalog
from meritorder.domain import Offer
from meritorder.errors import ConfigError
from meritorder.planner.model.supply import Reserved, SavingsPlan, machine_key
from meritorder.study.plan.options import PlanOptions

_KINDS: Final = ("reserved", "committed_use", "owned")


@dataclass(frozen=True, slots=True, kw_only=True)
class Have:
    """What is held already.

    Args:
        reserved: Machines, each with `have` of them and none to be bought.
        savings_plans: Dollars an hour, with none to be promised on top.
        notes: What a bill holds that could not be taken over, and why.
    """

    reserved: tuple[Reserved, ...] = ()
    savings_plans: tuple[SavingsPlan, ...] = ()
    notes: tuple[str, ...] = ()

    def beside(self, other: "Have") -> "Have":
        """Return what is held of both."""
        return Have(
            reserved=(*self.reserved, *other.reserved),
            savings_plans=(*self.savings_plans, *other.savings_plans),
            notes=(*self.notes, *other.notes),
        )

    @property
    def machines(self) -> frozenset[str]:
        """Kinds and places of machines that are held, or that a savings plan covers."""
        covered = {machine for plan in self.savings_plans for machine in plan.usd_per_hour}
        return frozenset({one.machine for one in self.reserved} | covered)


class _Machines(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    provider: str
    instance: str
    machines: int
    region: str = ""
    kind: str = "owned"


class _SavingsPlan(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    provider: str
    usd_per_hour: float
    rates: dict[str, float]
    name: str = "savings plan"


class _File(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    machines: list[_Machines] = []
    savings_plan: list[_SavingsPlan] = []


def prices_and_have(catalog: Catalog, options: PlanOptions) -> tuple[Catalog, Have]:
    """Return the catalog with the bills' own prices in it, and what is held by the bills and by the file.

    Args:
        catalog: List prices.
        options: Names the bills and the file.

    Raises:
        MeritorderError: A bill or the file cannot be read.
    """
    have = Have()
    if options.bills:
        from meritorder import bills  # noqa: PLC0415 - only a plan with a bill needs its readers
        from meritorder.study.audit.terms import read_terms  # noqa: PLC0415

        terms = read_terms(bills.read(options.bills), catalog)
        catalog = terms.in_catalog(catalog)
        have = Have(reserved=terms.reserved, savings_plans=terms.savings_plans, notes=terms.notes)
    if options.have:
        have = have.beside(read_have(options.have, catalog))
    return catalog, have


def read_have(path: Path, catalog: Catalog) -> Have:
    """Read a file of what is held.

    Args:
        path: TOML, as above.
        catalog: Knows the machines.

    Raises:
        ConfigError: The file or one of its tables makes no sense, or names a machine that the catalog does not know.
    """
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        file = msgspec.convert(document, _File)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not TOML ({error})", where=str(path)) from None
    except msgspec.ValidationError as error:
        raise ConfigError(
            str(error), where=str(path), fix="it is a list of [[machines]] and [[savings_plan]] tables"
        ) from None
    known = {machine_key(offer).lower(): machine_key(offer) for offer in catalog.offers}
    return Have(
        reserved=tuple(
            _reserved(each, known, f"{path}, machines {place}") for place, each in enumerate(file.machines, start=1)
        ),
        savings_plans=tuple(
            _savings_plan(each, known, f"{path}, savings_plan {place}")
            for place, each in enumerate(file.savings_plan, start=1)
        ),
    )


def _reserved(each: _Machines, known: dict[str, str], where: str) -> Reserved:
    if each.kind not in _KINDS:
        raise ConfigError(f"unknown kind {each.kind!r}", where=where, fix=f"write {', '.join(_KINDS)}")
    if each.machines < 1:
        raise ConfigError(f"{each.machines} machines", where=where, fix="state at least one")
    machine = _machine(f"{each.provider} {each.region} {each.instance}", known, where)
    return Reserved(
        name=f"{machine} held", machine=machine, usd_per_hour=0.0, held=each.machines, max_machines=0, kind=each.kind
    )


def _savings_plan(each: _SavingsPlan, known: dict[str, str], where: str) -> SavingsPlan:
    if each.usd_per_hour <= 0 or not each.rates or min(each.rates.values()) <= 0:
        raise ConfigError("needs dollars an hour, and rates of machines above nothing", where=where)
    return SavingsPlan(
        name=f"{each.provider} {each.name} held",
        usd_per_hour={_machine(f"{each.provider} {name}", known, where): usd for name, usd in each.rates.items()},
        held_usd_per_hour=each.usd_per_hour,
        max_usd_per_hour=0.0,
    )


def _machine(text: str, known: dict[str, str], where: str) -> str:
    """Return the catalog's name of a machine."""
    name = " ".join(text.split())
    machine = known.get(name.lower())
    if machine is None:
        raise ConfigError(
            f"the catalog has no machine {name!r}", where=where, fix="see `meritorder prices`, or add it with --catalog"
        )
    return machine


def offers_of(catalog: Catalog, have: Have) -> list[Offer]:
    """Return the catalog's offers of machines that are held."""
    return [offer for offer in catalog.offers if machine_key(offer) in have.machines]
