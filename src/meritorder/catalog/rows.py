"""Our own form of catalog files: TOML tables `[[hardware]]`, `[[model]]`, `[[offer]]`, or offers as CSV.

A CSV has one offer per row; its columns are the fields of `OfferRow`. The columns `provider, instance, hardware, gpus,
pricing_model, usd_per_hour` are required; `as_of` and `source` default to the date and name of the file.

    [[offer]]
    provider = "on-prem"
    instance = "dgx-1"
    hardware = "h100"
    gpus = 8
    pricing_model = "reserved"
    usd_per_hour = 14.40
    term = "3y"
"""

import csv
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from meritorder.domain import Hardware, Model, Offer, PricingModel
from meritorder.errors import CatalogError

KV_BYTES: Final = 2  # a bf16 cache


class Attention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The dimensions of the key-value cache: heads, or one latent vector per layer."""

    layers: int
    kv_heads: int = 0
    head_dim: int = 0
    latent_dims: int = 0

    def bytes_per_token(self) -> float:
        """Return the cache memory of one token at bf16.

        Grouped-query attention stores a key and a value for each head: `2 * layers * kv_heads * head_dim * 2`
        bytes. Latent attention stores one vector: `layers * latent_dims * 2` bytes.

        Source: arXiv:2305.13245 (grouped-query), arXiv:2405.04434 section 2.1 (latent), read 2026-11-23.
        """
        numbers_per_layer = self.latent_dims or 2 * self.kv_heads * self.head_dim
        return float(self.layers * numbers_per_layer * KV_BYTES)


class HardwareRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[hardware]]`: one accelerator; bytes, bytes per second, dense operations per second, watts."""

    id: str
    name: str
    memory_bytes: int
    memory_bandwidth_bytes_per_s: float
    bf16_flops: float
    power_w: float
    fp8_flops: float | None = None
    aliases: tuple[str, ...] = ()
    source: str = ""
    as_of: str = ""


class ModelRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[model]]`: one model, with `kv` or `kv_bytes_per_token`."""

    id: str
    hf_id: str
    parameters: float
    precision: str
    context_tokens: int
    active_parameters: float | None = None
    kv: Attention | None = None
    kv_bytes_per_token: float | None = None
    aliases: tuple[str, ...] = ()
    source: str = ""
    as_of: str = ""


class OfferRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[offer]]` or a row of CSV: one machine at one price."""

    provider: str
    instance: str
    hardware: str
    gpus: int
    pricing_model: PricingModel
    usd_per_hour: float
    region: str = ""
    term: str = ""
    payment: str = ""
    minimum_billing_s: float = 60.0
    interruptions_per_month: float | None = None
    as_of: str = ""
    source: str = ""
    confidence: str = "medium"
    assumed: bool = False


class Tables(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole TOML file."""

    hardware: tuple[HardwareRow, ...] = ()
    model: tuple[ModelRow, ...] = ()
    offer: tuple[OfferRow, ...] = ()


class PriceSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The publication that rows come from, and the license of its data."""

    title: str
    url: str
    licence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The file that rows come from: defaults for their date and source."""

    name: str
    as_of: str
    sources: Mapping[str, PriceSource]


def read_toml(text: str, origin: Origin) -> tuple[list[Hardware], list[Model], list[Offer]]:
    """Read the tables of a TOML file.

    Raises:
        CatalogError: The text is not TOML, or a field is missing, unknown or of the wrong type.
    """
    try:
        tables = msgspec.convert(tomllib.loads(text), Tables, strict=True)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise CatalogError(str(error), where=origin.name, fix="docs/reference/catalog.md shows the form") from error
    hardware = [_hardware(row, origin) for row in tables.hardware]
    models = [_model(row, origin) for row in tables.model]
    offers = [_offer(row, origin, where=f"{origin.name}, offer {n}") for n, row in enumerate(tables.offer, 1)]
    return hardware, models, offers


def read_csv(text: str, origin: Origin) -> Iterator[Offer]:
    """Read offers from CSV, one per row.

    Raises:
        CatalogError: A cell cannot be read, or a price is not a positive number; names the row as a spreadsheet
            numbers it.
    """
    for number, cells in enumerate(csv.DictReader(text.splitlines()), 2):
        where = f"{origin.name}, row {number}"
        if None in cells:
            raise CatalogError("has more cells than the header", where=where, fix="correct the row or delete it")
        filled: dict[str, Any] = {name: cell.strip() for name, cell in cells.items() if cell and cell.strip()}
        try:
            row = msgspec.convert(filled, OfferRow, strict=False)
        except msgspec.ValidationError as error:
            raise CatalogError(str(error), where=where, fix="correct the row or delete it") from error
        yield _offer(row, origin, where=where)


def read_sources(text: str) -> dict[str, PriceSource]:
    """Read the table of sources that the offers of the package refer to."""
    return msgspec.convert(tomllib.loads(text), dict[str, PriceSource])


def _offer(row: OfferRow, origin: Origin, *, where: str) -> Offer:
    fields = msgspec.structs.asdict(row)
    source = origin.sources.get(row.source)
    fields["source"] = f"{source.title} <{source.url}>" if source else row.source or origin.name
    fields["as_of"] = row.as_of or origin.as_of
    fields["provider"] = row.provider.lower()
    try:
        return Offer(**fields)
    except CatalogError as error:
        raise CatalogError(error.what, where=where, fix="correct the row or delete it") from error


def _hardware(row: HardwareRow, origin: Origin) -> Hardware:
    fields = msgspec.structs.asdict(row)
    return Hardware(**fields | {"source": row.source or origin.name, "as_of": row.as_of or origin.as_of})


def _model(row: ModelRow, origin: Origin) -> Model:
    if (row.kv is None) == (row.kv_bytes_per_token is None):
        raise CatalogError("needs either kv or kv_bytes_per_token", where=f"{origin.name}, model {row.id}")
    kv_bytes = row.kv.bytes_per_token() if row.kv else row.kv_bytes_per_token
    if not kv_bytes or kv_bytes <= 0:
        raise CatalogError("key and value memory must be positive", where=f"{origin.name}, model {row.id}")
    return Model(
        id=row.id,
        hf_id=row.hf_id,
        aliases=row.aliases,
        parameters=row.parameters,
        active_parameters=row.active_parameters or row.parameters,
        kv_bytes_per_token=kv_bytes,
        precision=row.precision,
        context_tokens=row.context_tokens,
        source=row.source or origin.name,
        as_of=row.as_of or origin.as_of,
    )
