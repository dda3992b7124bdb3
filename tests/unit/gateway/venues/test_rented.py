from decimal import Decimal

import pytest

from meritorder.errors import ConfigError
from meritorder.gateway.config import VenueTable
from meritorder.gateway.venues.rented import Rented


def _table(**fields: object) -> VenueTable:
    return VenueTable(name="v", url="http://x/v1", models=["m"], **fields)  # type: ignore[arg-type]


def _rented(**fields: object) -> Rented:
    rented = Rented.from_table(_table(**fields))
    assert rented is not None
    return rented


def test_venue_without_price_rents_nothing() -> None:
    assert Rented.from_table(_table()) is None


def test_given_price_precedes_catalog() -> None:
    rented = _rented(machine="my own", usd_per_hour=Decimal("2.5"), minimum_billing="10m")
    assert (rented.picousd_per_hour, rented.minimum_billing_s) == (2_500_000_000_000, 600.0)


def test_catalog_price_has_minimum_billing() -> None:
    rented = _rented(machine="runpod 2x H100 SXM")
    assert rented.picousd_per_hour > 10**12
    assert rented.minimum_billing_s == 60.0


def test_free_engine_is_metered() -> None:
    assert _rented(usd_per_hour=Decimal(0)).picousd_per_hour == 0


@pytest.mark.parametrize(("pricing_model", "committed"), [("on_demand", False), ("spot", False), ("reserved", True)])
def test_commitments_are_paid_anyway(pricing_model: str, committed: bool) -> None:  # noqa: FBT001
    assert _rented(usd_per_hour=Decimal(1), pricing_model=pricing_model).is_committed(0.0) == committed


@pytest.mark.parametrize(
    ("text", "ends_s"),
    [
        ("2027-01-31", 1_801_353_600.0),
        ("2027-01-31T12:00", 1_801_396_800.0),
        ("2027-01-31T01:00+01:00", 1_801_353_600.0),
    ],
)
def test_commitment_ends(text: str, ends_s: float) -> None:
    rented = _rented(usd_per_hour=Decimal(1), pricing_model="reserved", committed_until=text)
    assert rented.ends_s == ends_s
    assert rented.is_committed(ends_s - 1)
    assert not rented.is_committed(ends_s)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"pricing_model": "reserved", "committed_until": "next year"}, "'next year' is no date"),
        ({"pricing_model": "spot", "committed_until": "2027-01-31"}, "spot is no commitment"),
    ],
)
def test_wrong_end_is_refused(fields: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        _rented(usd_per_hour=Decimal(1), **fields)
    assert caught.value.where == "venue v: committed_until"


def test_unknown_machine_names_venue() -> None:
    with pytest.raises(ConfigError) as caught:
        _rented(machine="acme Z1")
    assert caught.value.where == "venue v: machine"
