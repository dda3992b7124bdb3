"""The public price lists that `meritorder prices update` reads, each with its address and its reader."""

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meritorder.catalog import aws, skypilot
from meritorder.catalog.genai import parse
from meritorder.catalog.sanity import Rejection
from meritorder.domain import Hardware
from meritorder.errors import CatalogError
from meritorder.offers import Offer

_MIB: Final = 1 << 20
_SKYPILOT: Final = "https://raw.githubusercontent.com/skypilot-org/skypilot-catalog/master/catalogs/v8"
_SKYPILOT_PROVIDERS: Final = ("aws", "azure", "gcp", "hyperstack", "lambda", "nebius", "oci", "runpod", "verda")
_AWS: Final = "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonEC2/current/us-east-1/index.json"
# As the library's own update: genai_prices.update_prices.DEFAULT_UPDATE_URL of 0.2.3.
_GENAI: Final = "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json"
# A list that is mostly unreadable is another kind of list.
_MAX_UNREADABLE: Final = 0.5

Hardwares = Mapping[str, Hardware]
"""Hardware by each of its names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """A public price list.

    Args:
        name: Its name in `--source`.
        url: Its public address.
        mirror_path: Its path below the address or folder of `--from`.
        file: The file that its prices are kept in.
        max_bytes: Most that is read of it.
        default: Whether it is read when no source is named.
        read: Turns the list into the content of the file: content, address, date, hardware.
    """

    name: str
    url: str
    mirror_path: str
    file: str
    max_bytes: int
    default: bool = True
    read: Callable[[bytes, str, str, Hardwares], bytes]


def _read_skypilot(content: bytes, where: str, as_of: str, hardware: Hardwares) -> bytes:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CatalogError(f"is no text: {error}", where=where) from error
    header = {cell.strip().strip('"') for cell in text.partition("\n")[0].split(",")}
    if not header >= skypilot.COLUMNS:
        raise CatalogError("is no SkyPilot catalog: its columns are others", where=where)
    if not text.endswith("\n"):
        raise CatalogError("is cut off: its last line has no end", where=where)
    path = Path(*where.split("/")[-2:])
    try:
        offers, rejected = skypilot.read(text, path, as_of, hardware)
    except CatalogError as error:
        raise CatalogError(error.what, where=where) from error
    return _to_csv(offers, rejected, f"SkyPilot catalog <{where}>", where)


def _read_aws(content: bytes, where: str, _: str, __: Hardwares) -> bytes:
    offers, rejected = aws.read(content, where)
    return _to_csv(offers, [row for row in rejected if row.usd_per_hour is None], f"AWS price list <{where}>", where)


def _read_genai(content: bytes, where: str, as_of: str, _: Hardwares) -> bytes:
    providers = parse(content, where)
    if not any(provider.models for provider in providers):
        raise CatalogError("has no model", where=where)
    return json.dumps({"as_of": as_of, "url": where, "providers": json.loads(content)}).encode()


def _to_csv(offers: list[Offer], rejected: list[Rejection], source: str, where: str) -> bytes:
    if len(rejected) > _MAX_UNREADABLE * (len(offers) + len(rejected)):
        first = f"{rejected[0].what}: {rejected[0].reason}"
        raise CatalogError(f"most rows cannot be read, first {first}", where=where)
    text = io.StringIO()
    fields = [field.name for field in dataclasses.fields(Offer)]
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    for offer in offers:
        values = dataclasses.asdict(offer) | {"sizes": "/".join(map(str, offer.sizes)), "source": source}
        writer.writerow({name: "" if value is None else value for name, value in values.items()})
    return text.getvalue().encode()


SOURCES: Final = (
    *(
        PriceList(
            name=f"skypilot/{provider}",
            url=f"{_SKYPILOT}/{provider}/vms.csv",
            mirror_path=f"skypilot/{provider}/vms.csv",
            file=f"skypilot-{provider}.csv",
            max_bytes=64 * _MIB,
            read=_read_skypilot,
        )
        for provider in _SKYPILOT_PROVIDERS
    ),
    PriceList(
        name="genai-prices",
        url=_GENAI,
        mirror_path="genai-prices/data.json",
        file="genai-prices.json",
        max_bytes=64 * _MIB,
        read=_read_genai,
    ),
    # Hundreds of megabytes, for reservations; on demand and spot are in SkyPilot's catalog.
    PriceList(
        name="aws",
        url=_AWS,
        mirror_path="aws/index.json",
        file="aws.csv",
        max_bytes=1024 * _MIB,
        default=False,
        read=_read_aws,
    ),
)


def choose_sources(names: tuple[str, ...]) -> tuple[PriceList, ...]:
    """Return the sources of these names, or those read by default.

    `skypilot` names all of SkyPilot's.

    Raises:
        CatalogError: A name is unknown.
    """
    known = {source.name for source in SOURCES}
    families = {name.partition("/")[0] for name in known}
    for name in names:
        if name not in known | families:
            raise CatalogError(f"unknown source {name!r}", where="--source", fix=f"known: {', '.join(sorted(known))}")
    if not names:
        return tuple(source for source in SOURCES if source.default)
    return tuple(source for source in SOURCES if {source.name, source.name.partition("/")[0]} & set(names))
