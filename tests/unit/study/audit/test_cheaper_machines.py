"""List price, region, spot and newer generation, on bills whose answer is plain arithmetic."""

from itertools import chain

import pytest
from tests.samples.charges import machine
from tests.unit.study.audit.conftest import DEFERRABLE, MONTH, WEEKS, Audited, kinds, only


def test_spot_at_the_bills_own_price(audited: Audited) -> None:
    answer = audited(
        chain(
            machine(MONTH, instance="g6e.12xlarge", usd=10.0, tags=DEFERRABLE),
            machine(range(100), instance="g6e.12xlarge", usd=4.0, spot=True, tags=DEFERRABLE, name="i-2"),
        )
    )
    found = only(answer, "spot_for_deferrable")
    # A machine in four is taken back in a month, which costs ten minutes: a little less than 6 an hour is saved.
    assert WEEKS * 5.99 < found.usd < WEEKS * 6
    assert "commitment_for_on_demand" not in kinds(answer)


def test_price_above_the_list(audited: Audited) -> None:
    daytime = [hour for hour in MONTH if hour % 24 < 12]
    found = only(audited(machine(daytime, usd=60.0)), "above_list_price")
    assert found.usd == pytest.approx(len(daytime) * (60 - 55.04))


def test_cheaper_region_has_low_confidence(audited: Audited) -> None:
    daytime = [hour for hour in MONTH if hour % 24 < 12]
    rows = machine(daytime, instance="p4de.24xlarge", usd=37.6223, region="ap-northeast-1")
    found = only(audited(rows), "cheaper_region")
    assert found.confidence == "low"
    assert "ap-southeast-1" in found.title
    assert found.usd == pytest.approx(len(daytime) * (37.6223 - 32.93646))


def test_fewer_whole_successors_cost_less(audited: Audited) -> None:
    daytime = [hour for hour in MONTH if hour % 24 < 12]
    rows = machine(daytime, instance="p4de.24xlarge", usd=27.44705, count=8)
    answer = audited(rows)
    found = only(answer, "old_generation")
    new = next(price for price in answer.prices if price.used_for == "a newer generation")
    # A whole number of successors in each hour, fewer than the eight that they replace.
    machines = (8 * 27.44705 - found.usd / len(daytime)) / new.usd
    assert machines == pytest.approx(round(machines))
    assert 1 <= machines < 8
    assert "step times" in found.evidence
