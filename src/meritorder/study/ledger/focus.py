"""Costs as a dataset of FOCUS 1.2: one row for each hour, tenant, model, venue and use.

Machines are metered in hours at their mean price in the period, tokens in tokens. Savings are in no column: they are
not costs. Source: FOCUS 1.2, columns of the Cost and Usage dataset, focus.finops.org, read 2026-11.
"""

import io
from collections import defaultdict
from pathlib import Path
from typing import Final

import polars as pl

from meritorder.errors import ConfigError
from meritorder.records.accounting import Use
from meritorder.study.ledger.costing import CostedLedger
from meritorder.study.ledger.summary import cost_sums, work_sums
from meritorder.tables import MONEY
from meritorder.units import PICOUSD_PER_USD, SECONDS_PER_HOUR

_SUFFIXES: Final = (".csv", ".parquet")
_BY: Final = ("hour", "tenant", "model", "venue", "use")
_KEYS: Final = ("hour", "tenant", "model", "venue", "use")
_HOURS: Final = "Hours"
_TOKENS: Final = "Tokens"
_DESCRIPTIONS: Final = {
    Use.BUSY: "LLM inference, machines while requests ran",
    Use.TOKENS: "LLM inference, tokens",
    Use.STARTING: "LLM inference, machines before they were ready",
    Use.IDLE: "LLM inference, machines that were ready with nothing to run",
    Use.UNUSED_COMMITMENT: "LLM inference, commitments that nothing used",
}


def check_suffix(path: Path | None) -> None:
    """Check that a file has a suffix that costs can be written with.

    Raises:
        ConfigError: It has another one.
    """
    if path is not None and path.suffix not in _SUFFIXES:
        raise ConfigError(f"unknown suffix {path.suffix!r}", where=str(path), fix=f"use {' or '.join(_SUFFIXES)}")


def to_focus(costed: CostedLedger, suffix: str) -> bytes:
    """Return costs as a FOCUS dataset in the form of a file suffix."""
    rows, content = focus_rows(costed), io.BytesIO()
    if suffix == ".parquet":
        rows.write_parquet(content)
    else:
        rows.write_csv(content, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    return content.getvalue()


def focus_rows(costed: CostedLedger) -> pl.DataFrame:
    """Return the rows of a FOCUS dataset; `BilledCost` sums to what was paid exactly."""
    costs = cost_sums(costed, _BY).with_columns(pl.col(name).cast(pl.String) for name in _KEYS[1:])
    work = work_sums(costed, _BY).with_columns(pl.col(name).cast(pl.String) for name in _KEYS[1:])
    rows = costs.join(work, on=_KEYS, how="left", nulls_equal=True).sort(_KEYS)
    tokens = (pl.col("input_tokens") + pl.col("output_tokens")).fill_null(0).cast(pl.Float64)
    usd = pl.col("picousd").cast(pl.Float64) / PICOUSD_PER_USD
    by_tokens = pl.col("use") == Use.TOKENS
    price = pl.col("venue").replace_strict(_usd_per_hour(costed), default=None, return_dtype=pl.Float64)
    hour = pl.from_epoch(pl.col("hour").cast(pl.Int64) * int(SECONDS_PER_HOUR), time_unit="s").dt.replace_time_zone(
        "UTC"
    )
    quantity = pl.when(by_tokens).then(tokens).otherwise(pl.when(price > 0).then(usd / price).otherwise(0.0))
    unused = pl.col("use") == Use.UNUSED_COMMITMENT
    cost = (pl.col("picousd").cast(MONEY) / PICOUSD_PER_USD).cast(MONEY)
    unit_price = pl.when(quantity > 0).then(usd / quantity).otherwise(0.0)
    unit = pl.when(by_tokens).then(pl.lit(_TOKENS)).otherwise(pl.lit(_HOURS))
    return rows.select(
        BilledCost=cost,
        EffectiveCost=cost,
        ListCost=cost,
        ContractedCost=cost,
        BillingCurrency=pl.lit("USD"),
        PricingCurrency=pl.lit("USD"),
        BillingAccountId=pl.lit("meritorder"),
        BillingAccountName=pl.lit("meritorder"),
        BillingAccountType=pl.lit("Gateway"),
        SubAccountId=_known("tenant"),
        SubAccountName=_known("tenant"),
        SubAccountType=pl.when(_known("tenant").is_not_null()).then(pl.lit("Tenant")),
        BillingPeriodStart=hour.dt.truncate("1mo"),
        BillingPeriodEnd=hour.dt.truncate("1mo").dt.offset_by("1mo"),
        ChargePeriodStart=hour,
        ChargePeriodEnd=hour.dt.offset_by("1h"),
        ChargeCategory=pl.lit("Usage"),
        ChargeClass=pl.lit(None, pl.String),
        ChargeFrequency=pl.lit("Usage-Based"),
        ChargeDescription=pl.col("use").replace_strict({use.value: text for use, text in _DESCRIPTIONS.items()}),
        ProviderName=pl.lit("meritorder"),
        PublisherName=pl.lit("meritorder"),
        InvoiceId=pl.lit(None, pl.String),
        InvoiceIssuerName=pl.lit("meritorder"),
        ServiceName=pl.lit("LLM inference"),
        ServiceCategory=pl.lit("AI and Machine Learning"),
        ServiceSubcategory=pl.lit("Generative AI"),
        ResourceId=pl.col("venue"),
        ResourceName=pl.col("venue"),
        ResourceType=unit.replace_strict({_TOKENS: "Token API", _HOURS: "Inference engine"}),
        SkuId=pl.format("{}/{}", "venue", "use"),
        SkuPriceId=pl.format("{}/{}", "venue", "use"),
        SkuPriceDetails=pl.struct(x_Use="use").struct.json_encode(),
        SkuMeter=pl.format("LLM inference: {}", "use"),
        PricingCategory=pl.when(unused).then(pl.lit("Committed")).otherwise(pl.lit("Standard")),
        PricingQuantity=quantity,
        PricingUnit=unit,
        ConsumedQuantity=pl.when(~unused).then(quantity),
        ConsumedUnit=pl.when(~unused).then(unit),
        ListUnitPrice=unit_price,
        ContractedUnitPrice=unit_price,
        PricingCurrencyEffectiveCost=cost,
        PricingCurrencyListUnitPrice=unit_price,
        PricingCurrencyContractedUnitPrice=unit_price,
        CommitmentDiscountId=pl.when(unused).then(pl.col("venue")),
        CommitmentDiscountName=pl.when(unused).then(pl.col("venue")),
        CommitmentDiscountCategory=pl.when(unused).then(pl.lit("Usage")),
        CommitmentDiscountType=pl.when(unused).then(pl.lit("Reserved")),
        CommitmentDiscountQuantity=pl.when(unused).then(quantity),
        CommitmentDiscountUnit=pl.when(unused).then(unit),
        CommitmentDiscountStatus=pl.when(unused).then(pl.lit("Unused")),
        x_Model=_known("model"),
        x_Use=pl.col("use"),
        x_Requests=pl.col("requests").fill_null(0),
    )


def _known(name: str) -> pl.Expr:
    """Return a name, or null for what belongs to no request."""
    return pl.when(~pl.col(name).str.starts_with("(")).then(pl.col(name))


def _usd_per_hour(costed: CostedLedger) -> dict[str, float]:
    """Return the mean price of a replica of each venue."""
    paid: defaultdict[str, int] = defaultdict(int)
    times: defaultdict[str, int] = defaultdict(int)
    for span in costed.paid:
        paid[span.venue] += span.picousd_per_hour * (span.end_us - span.start_us)
        times[span.venue] += span.end_us - span.start_us
    return {venue: paid[venue] / times[venue] / PICOUSD_PER_USD for venue in paid}
