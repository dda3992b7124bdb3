from decimal import Decimal
from pathlib import Path

import pytest
from tests.samples.ledgers import attempts, replica

from meritorder.errors import TraceError
from meritorder.gateway.store.billing.capacity import CapacityRecord, to_paid
from meritorder.metering.capacity import PaidCapacity, PaidCommitment
from meritorder.metering.words import COMMITMENT
from meritorder.study.ledger.answer import (
    account,
    cost_all,
    of_tenant,
    read_capacity,
    whole_period,
    write_capacity,
)
from meritorder.study.ledger.costing import Period

_RECORD = CapacityRecord(
    id="c",
    venue="gpu",
    replica="r0",
    machine="m",
    pricing_model="on_demand",
    picousd_per_hour=3_600_000_000_000,
    minimum_billing_s=60.0,
    started_s=10.0,
    ready_s=12.0,
    seen_s=50.0,
)


def test_records_of_store_become_capacity() -> None:
    assert to_paid(_RECORD) == replica(10.0, 50.0, "3.6", ready_s=12.0, minimum_billing_s=60.0, machine="m")


def test_two_gateways_pay_a_commitment_once() -> None:
    fields = {"kind": COMMITMENT, "replica": "", "pricing_model": "reserved", "ready_s": None}
    seen = [_RECORD.__class__(**{**_as_dict(), **fields, "id": name, "stopped_s": 3610.0}) for name in ("c1", "c2")]
    paid = [to_paid(record) for record in seen]
    rows = attempts()
    assert account(cost_all(rows, paid, whole_period(rows, paid)), ()).unused_commitment_usd == Decimal("3.6")


def _as_dict() -> dict[str, object]:
    return {name: getattr(_RECORD, name) for name in _RECORD.__struct_fields__}


def test_capacity_file_is_read_back(tmp_path: Path) -> None:
    term = PaidCommitment(venue="gpu", name="c", started_s=0.5, ended_s=9.25, usd_per_hour=Decimal("1.000000000001"))
    unpriced = PaidCapacity(
        venue="v", replica="r", started_s=1.0, ready_s=None, ended_s=2.0, usd_per_hour=None, machine="unknown"
    )
    paid = [replica(10.125, 50.0, "3.6"), term, unpriced]
    write_capacity(tmp_path / "capacity.csv", paid)
    assert read_capacity(tmp_path / "capacity.csv") == paid


_HEADER = "kind,venue,replica,usd_per_hour,started_s,ready_s,ended_s"


@pytest.mark.parametrize(
    "text",
    [
        "kind,venue\nreplica,gpu\n",
        f"{_HEADER}\nreplica,v,r,cheap,1,1,2\n",
        f"{_HEADER}\nreplica,v,r,1,1,1,1e300\n",
        f"{_HEADER}\nreplica,v,r,1,nan,1,2\n",
        f"{_HEADER}\nreplica,v,r,1,9,1,2\n",
    ],
)
def test_wrong_capacity_names_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "capacity.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match="not paid capacity") as caught:
        read_capacity(path)
    assert caught.value.where == f"{path}: line 2"


def test_nothing_to_account_for_is_told() -> None:
    with pytest.raises(TraceError, match="no attempt and no paid capacity"):
        whole_period(attempts(), [])


def test_tenant_sees_own_costs_only() -> None:
    rows = attempts(
        {"tenant": "a", "started_s": 0.0, "ended_s": 1800.0},
        {"tenant": "b", "started_s": 0.0, "ended_s": 900.0},
        {"tenant": None, "started_s": 0.0, "ended_s": 900.0},
    )
    costed = cost_all(rows, [replica(0, 3600)], Period(from_s=0, to_s=3600))
    by_tenant = {row.by["tenant"]: row.paid_usd for row in account(costed, ("tenant",)).rows}
    for tenant in ("a", "b"):
        own = account(of_tenant(costed, tenant), ("tenant", "use"))
        assert {row.by["tenant"]: row.paid_usd for row in own.rows} == {tenant: by_tenant[tenant]}
        assert (own.requests, own.paid_usd, own.idle_usd) == (1, by_tenant[tenant], 0)
    assert account(of_tenant(costed, "<script>"), ("day",)).rows == ()
