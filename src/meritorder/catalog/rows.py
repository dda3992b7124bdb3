"""Our own form of catalog files: TOML tables `[[hardware]]`, `[[model]]`, `[[offer]]`, or offers as CSV.

A CSV has one offer per row; its columns are the fields of `OfferRow`. The columns `provider, instance, hardware, gpus,
pricing_model, usd_per_hour` are required; `as_of` and `source` default to the date and name of the file. An offer that
is invalid is left out; the others count.

    [[offer]]
    provider = "on-prem"
    instance = "dgx-1"
    hardware = "h100"
    gpus = 8
    pricing_model = "reserved"
    usd_per_hour = 14.40
    term = "3y"

A row in another currency says so in `currency`, and counts if the dollars for one unit are known: by `--rate EUR=1.08`,
or `[rates]` with `EUR = 1.08` in this TOML or in one before it.
"""

import csv
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Final

import msgspec

from meritorder.catalog.lookup import hardware_by_name, plain, plain_hardware
from meritorder.catalog.sanity import Rejection
from meritorder.domain import Hardware, Model, PricingModel
from meritorder.errors import CatalogError
from meritorder.offers import Offer
from meritorder.units import MAX_USD_PER_UNIT

KV_BYTES: Final = 2  # a bf16 cache
PRICING_MODEL_NAMES: Final = {
    **{model.value: model for model in PricingModel},
    "ondemand": PricingModel.ON_DEMAND,
    "pay_as_you_go": PricingModel.ON_DEMAND,
    "payg": PricingModel.ON_DEMAND,
    "preemptible": PricingModel.SPOT,
    "interruptible": PricingModel.SPOT,
    "reservation": PricingModel.RESERVED,
    "reserved_instance": PricingModel.RESERVED,
    "ri": PricingModel.RESERVED,
    "savings_plans": PricingModel.SAVINGS_PLAN,
    "committed": PricingModel.COMMITTED_USE,
    "committed_use_discount": PricingModel.COMMITTED_USE,
    "cud": PricingModel.COMMITTED_USE,
    "capacity_blocks": PricingModel.CAPACITY_BLOCK,
}
_TERM: Final = re.compile(r"(\d+)[\s-]*(?:(years?|yrs?|y)|(?:months?|mos?|m))\b", re.IGNORECASE)
_YEARLY: Final = ("annual", "annually", "yearly")
_MONTHS_PER_YEAR: Final = 12
_SEPARATORS: Final = (",", ";", "\t")
_USD: Final = "USD"
_AMOUNTS: Final = ("usd_per_hour", "minimum_billing_s", "interruptions_per_month")
_DOLLARS: Final = re.compile(r"\s|\$|USD|(?:/|per)\s?(?:h|hr|hour)$", re.IGNORECASE)
_THOUSANDS: Final = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_DECIMAL_COMMA: Final = re.compile(r"^(\D*\d+),(\d{1,2}|\d{4,})(?=\D*$)")


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
    pricing_model: str
    usd_per_hour: float
    currency: str = _USD
    sizes: tuple[int, ...] = ()
    region: str = ""
    term: str = ""
    payment: str = ""
    minimum_billing_s: float = 60.0
    interruptions_per_month: float | None = None
    keep_warm_s: float | None = None
    as_of: str = ""
    source: str = ""
    confidence: str = "medium"
    assumed: bool = False


class Tables(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole TOML file."""

    hardware: tuple[HardwareRow, ...] = ()
    model: tuple[ModelRow, ...] = ()
    offer: tuple[dict[str, object], ...] = ()
    rates: dict[str, Annotated[float, msgspec.Meta(gt=0, lt=MAX_USD_PER_UNIT)]] = {}


class PriceSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The publication that rows come from, and the license of its data."""

    title: str
    url: str
    licence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The file that rows come from: defaults for their date and source, and dollars for one unit by currency."""

    name: str
    as_of: str
    sources: Mapping[str, PriceSource]
    rates: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class OfferRows:
    """Offers of a file, and the rows that were left out because they are invalid."""

    origin: Origin
    hardware: Mapping[str, Hardware]
    offers: list[Offer] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)

    def add(self, read: Callable[[], OfferRow], where: str) -> None:
        """Add an offer, or leave out its row with the reason.

        Args:
            read: Reads the row.
            where: File and row for messages.
        """
        try:
            self.offers.append(_offer(read(), self.origin, self.hardware))
        except msgspec.ValidationError as error:
            self.leave_out(where, str(error))
        except CatalogError as error:
            self.leave_out(where, f"{error.what}; {error.fix}" if error.fix else error.what)

    def leave_out(self, where: str, reason: str) -> None:
        """Leave out a row."""
        self.rejected.append(Rejection(what=where, usd_per_hour=None, reason=reason, source=self.origin.name))


def read_toml(
    text: str, origin: Origin, known: Iterable[Hardware] = ()
) -> tuple[list[Hardware], list[Model], OfferRows]:
    """Read the tables of a TOML file.

    Args:
        text: The whole file.
        origin: Where it comes from.
        known: Hardware that its offers may name, besides that of the file.

    Raises:
        CatalogError: The text is not TOML, or a field is missing, unknown or of the wrong type.
    """
    try:
        tables = msgspec.convert(tomllib.loads(text), Tables, strict=True)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise CatalogError(str(error), where=origin.name, fix="docs/reference/catalog.md shows the form") from error
    origin = replace(origin, rates={**origin.rates, **{name.upper(): usd for name, usd in tables.rates.items()}})
    hardware = [_hardware(row, origin) for row in tables.hardware]
    models = [_model(row, origin) for row in tables.model]
    rows = OfferRows(origin, hardware_by_name((*known, *hardware)))
    for number, row in enumerate(tables.offer, 1):
        rows.add(partial(msgspec.convert, row, OfferRow), f"{origin.name}, offer {number}")
    return hardware, models, rows


def read_csv(text: str, origin: Origin, known: Iterable[Hardware]) -> OfferRows:
    """Read offers from CSV, one per row; a row is named as a spreadsheet numbers it.

    Args:
        text: The whole file.
        origin: Where it comes from.
        known: Hardware that its offers may name.
    """
    rows = OfferRows(origin, hardware_by_name(known))
    names, separator = csv_header(text)
    for number, cells in enumerate(csv.reader(text.splitlines()[1:], delimiter=separator), 2):
        where = f"{origin.name}, row {number}"
        if len(cells) > len(names):
            rows.leave_out(where, "has more cells than the header")
        elif any(cells):
            filled = {name: cell.strip() for name, cell in zip(names, cells, strict=False) if cell.strip()}
            rows.add(partial(_read_cells, filled if separator == "," else _with_points(filled)), where)
    return rows


def csv_header(text: str) -> tuple[tuple[str, ...], str]:
    """Return the columns of a CSV as the fields of `OfferRow` are written, and what separates them."""
    header = text.partition("\n")[0].strip()
    separator = max(_SEPARATORS, key=header.count)
    cells = next(csv.reader([header], delimiter=separator), [])
    return tuple(cell.strip().lower().replace(" ", "_") for cell in cells), separator


def _with_points(cells: Mapping[str, str]) -> dict[str, str]:
    """Return cells of a CSV that is not separated by commas, with decimal commas as points."""
    return {name: _DECIMAL_COMMA.sub(r"\1.\2", cell) for name, cell in cells.items()}


def read_sources(text: str) -> dict[str, PriceSource]:
    """Read the table of sources that the offers of the package refer to."""
    return msgspec.convert(tomllib.loads(text), dict[str, PriceSource])


def _read_cells(cells: Mapping[str, str]) -> OfferRow:
    amounts = {name: _amount(name, cells[name]) for name in _AMOUNTS if name in cells}
    if "gpus" in cells and not cells["gpus"].removesuffix(".0").isdecimal():
        raise CatalogError(f"gpus must be a whole number of GPUs, not {cells['gpus']!r}")
    cells = {**cells, **amounts}
    sizes = {"sizes": cells["sizes"].split("/")} if "sizes" in cells else {}
    return msgspec.convert({**cells, **sizes}, OfferRow, strict=False)


def _amount(name: str, text: str) -> str:
    """Return a number without dollar signs and separators of thousands."""
    written = _DOLLARS.sub("", text)
    plainly = written.replace(",", "") if _THOUSANDS.fullmatch(written) else written
    try:
        float(plainly)
    except ValueError:
        unit = " of dollars" if name.startswith("usd_") else ""
        raise CatalogError(f"{name} must be a number{unit}, not {text!r}") from None
    return plainly


def _offer(row: OfferRow, origin: Origin, hardware: Mapping[str, Hardware]) -> Offer:
    currency = row.currency.upper()
    usd = 1.0 if currency == _USD else origin.rates.get(currency)
    if usd is None:
        raise CatalogError(
            f"is priced in {row.currency}, not in USD",
            fix=f"give its rate, in dollars for one {currency}: --rate {currency}=RATE",
        )
    known = hardware.get(plain_hardware(row.hardware))
    if known is None:
        ids = dict.fromkeys(accelerator.id for accelerator in hardware.values())
        fix = f"known: {', '.join(ids)}; or add a [[hardware]] table"
        raise CatalogError(f"unknown hardware {row.hardware!r}", fix=fix)
    fields = msgspec.structs.asdict(row)
    del fields["currency"]
    source = origin.sources.get(row.source)
    fields["source"] = f"{source.title} <{source.url}>" if source else row.source or origin.name
    if currency != _USD:
        fields["usd_per_hour"] = row.usd_per_hour * usd
        fields["source"] += f"; one {currency} is {usd:g} dollars"
    fields["as_of"] = row.as_of or origin.as_of
    fields["provider"] = row.provider.lower()
    fields["hardware"] = known.id
    fields["pricing_model"] = _pricing_model(row.pricing_model)
    fields["term"] = _term(row.term or _term_in(row.pricing_model))
    return Offer(**fields)


def _pricing_model(text: str) -> PricingModel:
    name = plain(_TERM.sub("", text).strip(" -_")).replace("-", "_")
    pricing_model = PRICING_MODEL_NAMES.get(name)
    if pricing_model is None:
        raise CatalogError(f"{text!r} is not a pricing_model", fix=f"allowed: {', '.join(PricingModel)}")
    return pricing_model


def _term_in(text: str) -> str:
    """Return the term in the name of a pricing model, such as "1 year reserved"."""
    match = _TERM.search(text)
    return match[0] if match else ""


def _term(text: str) -> str:
    """Return the length of a commitment in whole years as "1y", also of "36m" and "annual"; other text as it is."""
    match = _TERM.fullmatch(text.strip())
    if match is None:
        return "1y" if text.strip().lower() in _YEARLY else text
    years, months = divmod(int(match[1]), 1 if match[2] else _MONTHS_PER_YEAR)
    return text if months or not years else f"{years}y"


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
