"""SkyPilot's catalog of virtual machines (`catalogs/v5` to `v8`, `vms.csv`).

Columns: InstanceType, AcceleratorName, AcceleratorCount, vCPUs, MemoryGiB, GpuInfo, Price, SpotPrice,
Region, AvailabilityZone; in any order, some optional. Price and SpotPrice are dollars per hour for the
whole machine. The provider is not in the file: it is the name of its folder (`aws/vms.csv`) or of the file
(`aws.csv`). "A100" means the 40 GB board.

Source: https://github.com/skypilot-org/skypilot-catalog README, read 2026-11-23.
"""

import csv
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from meritorder.catalog.lookup import plain
from meritorder.catalog.sanity import Rejection
from meritorder.domain import Hardware, Offer, PricingModel
from meritorder.errors import CatalogError

COLUMNS: Final = frozenset({"InstanceType", "AcceleratorName", "AcceleratorCount", "Price", "Region"})
_HARDWARE_IDS: Final = {"a100": "a100-40gb", "a100-80gb": "a100"}
# The accelerator name covers several boards; the machine or GpuInfo distinguishes them.
_BOARDS: Final = (
    (re.compile(r"h100.*pcie|pcie.*h100", re.IGNORECASE), "h100", "h100-pcie"),
    (re.compile(r"h100.?nvl|nc\d+\w*_h100", re.IGNORECASE), "h100", "h100-nvl"),
    (re.compile(r"a100.?pcie|nc\d+\w*_a100", re.IGNORECASE), "a100", "a100-pcie"),
)


def read(text: str, path: Path, as_of: str, hardware: Mapping[str, Hardware]) -> tuple[list[Offer], list[Rejection]]:
    """Read on-demand and spot offers, from the cheapest zone of each region.

    Machines without a GPU of the catalog are skipped.

    Args:
        text: The whole file.
        path: Its path, which names the provider.
        as_of: Date of the file; the content has none.
        hardware: Hardware by id and alias.

    Raises:
        CatalogError: A price is not a positive number; names file and row. A spot price of zero means that there is no
            spot offer.
    """
    provider = (path.parent.name if path.stem == "vms" else path.stem.removesuffix("-vms")).lower()
    source = f"SkyPilot catalog {path.name}; dated by the file"
    offers: dict[tuple[str, str, PricingModel], Offer] = {}
    rejected: list[Rejection] = []
    for number, row in enumerate(csv.DictReader(text.splitlines()), 2):
        known = hardware.get(_hardware_name(row))
        if known is None:
            continue
        if not row["InstanceType"]:
            what = f"{provider} {row['AcceleratorCount']} x {row['AcceleratorName']} {row['Region']}"
            reason = "the price of the accelerator without its machine"
            rejected.append(Rejection(what=what, usd_per_hour=None, reason=reason, source=source))
            continue
        for pricing_model, column in ((PricingModel.ON_DEMAND, "Price"), (PricingModel.SPOT, "SpotPrice")):
            price = _price(row, column, where=f"{path}, row {number}")
            if price is None:
                continue
            offer = Offer(
                provider=provider,
                region=row["Region"] or "",
                instance=row["InstanceType"],
                hardware=known.id,
                gpus=int(float(row["AcceleratorCount"])),
                pricing_model=pricing_model,
                usd_per_hour=price,
                as_of=as_of,
                source=source,
            )
            key = (offer.region, offer.instance, pricing_model)
            if key not in offers or price < offers[key].usd_per_hour:
                offers[key] = offer
    return list(offers.values()), rejected


def _hardware_name(row: Mapping[str, str]) -> str:
    name = plain(row["AcceleratorName"] or "")
    name = _HARDWARE_IDS.get(name, name)
    details = f"{row['AcceleratorName']} {row['InstanceType']} {row.get('GpuInfo') or ''}"
    return next((board for pattern, kind, board in _BOARDS if name == kind and pattern.search(details)), name)


def _price(row: Mapping[str, str], column: str, *, where: str) -> float | None:
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
        raise CatalogError(f"{column} must be a positive number of dollars an hour, not {cell}", where=where)
    return price
