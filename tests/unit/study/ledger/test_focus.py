import os
import re
import subprocess
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from tests.samples.ledgers import attempts, replica

from meritorder import bills
from meritorder.errors import ConfigError
from meritorder.metering.capacity import PaidCommitment
from meritorder.study.ledger.answer import cost_all
from meritorder.study.ledger.costing import CostedLedger, Period
from meritorder.study.ledger.focus import check_suffix, focus_rows, to_focus

_APPLICABLE = (
    *("ACCOUNT_NAMING_SUPPORTED", "COMMITMENT_DISCOUNT_SUPPORTED", "MULTIPLE_PRICING_CATEGORIES_SUPPORTED"),
    *("NEGOTIATED_PRICING_SUPPORTED", "PUBLIC_PRICE_LIST_SUPPORTED", "USAGE_MEASUREMENT_SUPPORTED"),
    *("UNIT_PRICING_SUPPORTED", "SUB_ACCOUNT_SUPPORTED", "RESOURCE_TYPE_ASSIGNMENT_SUPPORTED"),
    *("MULTIPLE_SUB_ACCOUNT_TYPES_SUPPORTED", "MULTIPLE_BILLING_ACCOUNT_TYPES_SUPPORTED"),
    "BILLING_BASED_ON_PROVISIONED_RESOURCES_SUPPORTED",
)
# The validator's own: it checks an invoice without its condition, and a status where the text says that there is none.
_WRONG_RULES = {
    "InvoiceId-C-005-C",
    *(f"CommitmentDiscountStatus-C-00{number}-C" for number in (0, 2, 4)),
}
_START_S = 1_798_761_600.0 - 5400  # over the end of December 2026


@pytest.fixture
def costed() -> CostedLedger:
    rows = attempts(
        {"started_s": _START_S, "ended_s": _START_S + 5000, "tenant": 'acme, "inc"\n'},
        {"started_s": _START_S + 4000, "ended_s": _START_S + 9000, "tenant": "bolt"},
        {"venue": "api", "ended_s": _START_S + 77.7, "cost_picousd": 34_000_000_001, "tenant": 'acme, "inc"\n'},
    )
    term = PaidCommitment(
        venue="spare", name="c", started_s=_START_S, ended_s=_START_S + 7200, usd_per_hour=Decimal("1.234567890123")
    )
    paid = [replica(_START_S - 60, _START_S + 10_000, "3.79", ready_s=_START_S), term]
    return cost_all(rows, paid, Period(from_s=_START_S - 60, to_s=_START_S + 86_400))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_audit_reads_costs_to_the_cent(costed: CostedLedger, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"costs{suffix}"
    path.write_bytes(to_focus(costed, suffix))
    charges = bills.read([path]).charges.lazy().collect()
    paid = Decimal(sum(costed.costs["picousd"].to_list())).scaleb(-12)
    assert charges["billed_usd"].sum() == charges["amortised_usd"].sum() == paid
    assert charges.filter(pl.col("unused"))["billed_usd"].sum() == Decimal("2.469135780246")
    assert set(charges["kind"].cast(pl.String)) == {"accelerator", "tokens"}, "all of it is inference"
    assert set(charges["account"].drop_nulls()) == {'acme, "inc"\n', "bolt"}


def test_hours_are_those_that_were_paid(costed: CostedLedger) -> None:
    rows = focus_rows(costed).filter(pl.col("ResourceId") == "gpu")
    assert rows["PricingQuantity"].sum() == pytest.approx(10_060 / 3600)
    assert rows["PricingUnit"].unique().to_list() == ["Hours"]
    assert (rows["ListUnitPrice"] - 3.79).abs().max() < 1e-9


def test_charges_stay_in_their_month(costed: CostedLedger) -> None:
    rows = focus_rows(costed)
    inside = (rows["BillingPeriodStart"] <= rows["ChargePeriodStart"]) & (
        rows["ChargePeriodEnd"] <= rows["BillingPeriodEnd"]
    )
    assert inside.all()
    assert rows["BillingPeriodStart"].n_unique() == 2


def test_unknown_suffix_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown suffix '\.xlsx'"):
        check_suffix(Path("costs.xlsx"))


@pytest.mark.slow
@pytest.mark.skipif("FOCUS_VALIDATOR" not in os.environ, reason="needs focus-validator 2.2.1 on Python 3.12")
def test_specification_validator_accepts_costs(costed: CostedLedger, tmp_path: Path) -> None:
    path = tmp_path / "costs.parquet"
    path.write_bytes(to_focus(costed, ".parquet"))
    validator = Path(os.environ["FOCUS_VALIDATOR"])
    packages = next(validator.parents[1].glob("lib/python3.*/site-packages"))
    options = ("--validate-version", "1.2", "--block-download", "--applicability-criteria", ",".join(_APPLICABLE))
    command = [validator, "--data-file", path, *options]
    said = subprocess.run(command, cwd=packages, capture_output=True, text=True, check=True).stdout
    failed = set(re.findall(r"^- ([\w-]+): violations", said, re.MULTILINE))
    assert "Total: 578" in said
    assert failed == _WRONG_RULES
