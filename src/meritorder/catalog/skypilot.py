"""SkyPilot's catalog of virtual machines (`catalogs/v5` to `v8`, `vms.csv`).

Columns: InstanceType, AcceleratorName, AcceleratorCount, vCPUs, MemoryGiB, GpuInfo, Price, SpotPrice,
Region, AvailabilityZone; in any order, some of them absent. Price and SpotPrice are dollars an hour of the
whole machine. The provider is not in the file: it is the name of its folder (`aws/vms.csv`) or of the file
(`aws.csv`). Its "A100" is the 40 GB one.

Source: https://github.com/skypilot-org/skypilot-catalog README, read 2026-11-23.
"""

import csv
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from meritorder.catalog.lookup import plain
from meritorder.catalog.sanity import Refusal
from meritorder.domain import Hardware, Offer, PricingModel
from meritorder.errors import CatalogError

COLUMNS: Final = frozenset({"InstanceType", "AcceleratorName", "AcceleratorCount", "Price", "Region"})
_MEANING: Final = {"a100": "a100-40gb", "a100-80gb": "a100"}
# One name for all boards of a kind; the machine or GpuInfo says which.
_BOARDS: Final = (
    (re.compile(r"h100.*pcie|pcie.*h100", re.IGNORECASE), "h100", "h100-pcie"),
    (re.compile(r"h100.?nvl|nc\d+\w*_h100", re.IGNORECASE), "h100", "h100-nvl"),
    (re.compile(r"a100.?pcie|nc\d+\w*_a100", re.IGNORECASE), "a100", "a100-pcie"),
)


def read(text: str, path: Path, as_of: str, hardware: Mapping[str, Hardware]) -> tuple[list[Offer], list[Refusal]]:
    """Read offers, on demand and spot; the cheapest zone of a region.

    Machines with no GPU, or with one that the catalog does not know, are left out: they are no candidates.

    Args:
        text: The whole file.
        path: Where it is: names the provider.
        as_of: Date of the file: there is none inside.
        hardware: By any name.

    Raises:
        CatalogError: A price is no number, or not positive; names file and row. A spot price of zero means
            that there is none.
    """
    provider = (path.parent.name if path.stem == "vms" else path.stem.removesuffix("-vms")).lower()
    source = f"SkyPilot catalog {path.name}; no date inside, that of the file"
    offers: dict[tuple[str, str, PricingModel], Offer] = {}
    refused: list[Refusal] = []
    for number, row in enumerate(csv.DictReader(text.splitlines()), 2):
        known = hardware.get(_hardware_name(row))
        if known is None:
            continue
        if not row["InstanceType"]:
            what = f"{provider} {row['AcceleratorCount']} x {row['AcceleratorName']} {row['Region']}"
            reason = "the price of the accelerator without its machine"
            refused.append(Refusal(what=what, usd_per_hour=None, reason=reason, source=source))
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
    return list(offers.values()), refused


def _hardware_name(row: Mapping[str, str]) -> str:
    name = plain(row["AcceleratorName"] or "")
    name = _MEANING.get(name, name)
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
