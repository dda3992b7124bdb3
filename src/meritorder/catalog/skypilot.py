"""SkyPilot's catalog of virtual machines (`catalogs/v5` to `v8`, `vms.csv`).

Columns: InstanceType, AcceleratorName, AcceleratorCount, vCPUs, MemoryGiB, GpuInfo, Price, SpotPrice,
Region, AvailabilityZone; in any order, some optional. Price and SpotPrice are dollars per hour for the
whole machine. The provider is not in the file: it is the name of its folder (`aws/vms.csv`) or of the file
(`aws.csv`). "A100" means the 40 GB board. Google lists accelerators and their machine in separate rows; the price is
their sum.

Source: https://github.com/skypilot-org/skypilot-catalog README, read 2026-11-23.
"""

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meritorder.catalog.lookup import plain, plain_hardware
from meritorder.catalog.sanity import Rejection
from meritorder.domain import Hardware, PricingModel
from meritorder.errors import CatalogError
from meritorder.offers import Offer

COLUMNS: Final = frozenset({"InstanceType", "AcceleratorName", "AcceleratorCount", "Price", "Region"})
_HARDWARE_IDS: Final = {"a100": "a100-40gb", "a100-80gb": "a100"}
# The accelerator name covers several boards; the machine or GpuInfo distinguishes them.
_BOARDS: Final = (
    (re.compile(r"h100.*pcie|pcie.*h100", re.IGNORECASE), "h100", "h100-pcie"),
    (re.compile(r"h100.?nvl|nc\d+\w*_h100", re.IGNORECASE), "h100", "h100-nvl"),
    (re.compile(r"a100.?pcie|nc\d+\w*_a100", re.IGNORECASE), "a100", "a100-pcie"),
)
# Accelerator and its number in Google's machines. Source: https://cloud.google.com/compute/docs/gpus
_ACCELERATORS: Final = {
    **{f"a2-highgpu-{gpus}g": ("a100", gpus) for gpus in (1, 2, 4, 8)},
    "a2-megagpu-16g": ("a100", 16),
    **{f"a2-ultragpu-{gpus}g": ("a100-80gb", gpus) for gpus in (1, 2, 4, 8)},
    **{f"a3-highgpu-{gpus}g": ("h100", gpus) for gpus in (1, 2, 4, 8)},
    "a3-megagpu-8g": ("h100-mega", 8),
    "a3-ultragpu-8g": ("h200", 8),
    "a4-highgpu-8g": ("b200", 8),
    **{f"g2-standard-{vcpus}": ("l4", 1) for vcpus in (4, 8, 12, 16, 32)},
    "g2-standard-24": ("l4", 2),
    "g2-standard-48": ("l4", 4),
    "g2-standard-96": ("l4", 8),
}
_Row = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    """A machine and the rows whose prices add up to its own."""

    where: str
    instance: str
    accelerators: _Row
    priced: tuple[_Row, ...]

    def usd_per_hour(self, column: str) -> float | None:
        """Return the price of the whole machine, None if a part of it has none.

        Raises:
            CatalogError: A price is not a positive number, or the machine is not listed.
        """
        if not self.instance:
            row = self.accelerators
            accelerators = f"{row['AcceleratorCount']} x {row['AcceleratorName']} {row['Region']}"
            raise CatalogError(f"the price of {accelerators} without its machine")
        prices = [_price(row, column) for row in self.priced]
        return None if None in prices else math.fsum(price for price in prices if price is not None)


def read(text: str, path: Path, as_of: str, hardware: Mapping[str, Hardware]) -> tuple[list[Offer], list[Rejection]]:
    """Read on-demand and spot offers, from the cheapest zone of each region.

    Machines without a GPU of the catalog are skipped; a row that is invalid is left out. A spot price of zero means
    that there is no spot offer.

    Args:
        text: The whole file.
        path: Its path, which names the provider.
        as_of: Date of the file; the content has none.
        hardware: Hardware by id and alias.

    Raises:
        CatalogError: The file has no machine with a GPU of the catalog.
    """
    provider = (path.parent.name if path.stem == "vms" else path.stem.removesuffix("-vms")).lower()
    source = f"SkyPilot catalog {path.name}; dated by the file"
    offers: dict[tuple[str, str, PricingModel], Offer] = {}
    reasons: dict[str, str] = {}
    rows = []
    for number, row in enumerate(csv.DictReader(text.splitlines()), 2):
        where = f"{path}, row {number}"
        if None in row or None in row.values():
            reasons[where] = "has another number of cells than the header"
        else:
            rows.append((where, row))
    for machine in _machines(rows):
        known = hardware.get(plain_hardware(_hardware_name(machine.accelerators)))
        if known is None:
            continue
        for pricing_model, column in ((PricingModel.ON_DEMAND, "Price"), (PricingModel.SPOT, "SpotPrice")):
            try:
                usd_per_hour = machine.usd_per_hour(column)
                gpus = _gpus(machine.accelerators)
            except CatalogError as error:
                reasons.setdefault(machine.where, error.what)
                continue
            if usd_per_hour is None:
                continue
            key = (machine.accelerators["Region"] or "", machine.instance, pricing_model)
            if key not in offers or usd_per_hour < offers[key].usd_per_hour:
                offers[key] = Offer(
                    provider=provider,
                    region=key[0],
                    instance=machine.instance,
                    hardware=known.id,
                    gpus=gpus,
                    pricing_model=pricing_model,
                    usd_per_hour=usd_per_hour,
                    as_of=as_of,
                    source=source,
                )
    if not offers and not reasons:
        raise CatalogError("has no machine with a GPU of the catalog", where=str(path))
    rejected = [
        Rejection(what=where, usd_per_hour=None, reason=reason, source=source) for where, reason in reasons.items()
    ]
    return list(offers.values()), rejected


def _machines(rows: Sequence[tuple[str, _Row]]) -> Iterator[_Machine]:
    """Yield machines with accelerators; accelerators whose machine is not listed in their zone have no instance."""
    hosts: dict[tuple[object, ...], list[tuple[str, _Row]]] = {}
    for where, row in rows:
        contents = _ACCELERATORS.get(row["InstanceType"] or "")
        if contents and not row["AcceleratorName"]:
            accelerator, gpus = contents
            hosts.setdefault((*_zone(row), accelerator, str(gpus)), []).append((where, row))
    for where, row in rows:
        if row["InstanceType"]:
            yield _Machine(where=where, instance=row["InstanceType"], accelerators=row, priced=(row,))
            continue
        count = (row["AcceleratorCount"] or "").removesuffix(".0")
        joined = hosts.get((*_zone(row), plain(row["AcceleratorName"] or ""), count))
        if joined is None:
            yield _Machine(where=where, instance="", accelerators=row, priced=(row,))
        for host_where, host in joined or ():
            yield _Machine(
                where=f"{where}, with {host_where.rpartition(', ')[2]}",
                instance=host["InstanceType"],
                accelerators=row,
                priced=(row, host),
            )


def _zone(row: _Row) -> tuple[str, str]:
    return row["Region"] or "", row.get("AvailabilityZone") or ""


def _gpus(row: _Row) -> int:
    cell = row["AcceleratorCount"] or ""
    try:
        gpus = float(cell)
    except ValueError:
        gpus = math.nan
    if not gpus.is_integer() or gpus < 1:
        raise CatalogError(f"AcceleratorCount must be a whole number of GPUs, not {cell!r}")
    return int(gpus)


def _hardware_name(row: _Row) -> str:
    name = plain(row["AcceleratorName"] or "")
    name = _HARDWARE_IDS.get(name, name)
    details = f"{row['AcceleratorName']} {row['InstanceType']} {row.get('GpuInfo') or ''}"
    return next((board for pattern, kind, board in _BOARDS if name == kind and pattern.search(details)), name)


def _price(row: _Row, column: str) -> float | None:
    cell = (row.get(column) or "").strip()
    if not cell:
        return None
    try:
        price = float(cell)
    except ValueError:
        price = math.nan
    if price == 0 and column == "SpotPrice":
        return None
    if not (math.isfinite(price) and price > 0):
        raise CatalogError(f"{column} must be a positive number of dollars an hour, not {cell}")
    return price
