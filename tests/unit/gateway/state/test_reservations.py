from meritorder.gateway.state.reservations import UNLIMITED, BudgetLease, Reservation, Spending
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.keys import Budget, Key

KEY = Key(id="a", name="a", tenant="t", budgets=(Budget(id="a", amount_picousd=100),))


def entry(cost_picousd: int | None, key_id: str | None = "a") -> LedgerEntry:
    return LedgerEntry(
        request_id="req_1",
        arrived_s=0.0,
        started_s=0.0,
        ended_s=1.0,
        ttft_s=None,
        lane="realtime",
        tenant="t",
        key_id=key_id,
        model="m",
        endpoint="/v1/completions",
        venue="v",
        status_code=200,
        input_tokens=1,
        output_tokens=1,
        counted=True,
        cost_picousd=cost_picousd,
    )


def leased(amount: int, reserved: int) -> tuple[Spending, BudgetLease, Reservation]:
    """Return a lease of which a call in flight reserves a part."""
    spending = Spending({"a": KEY}.get)  # type: ignore[arg-type]
    lease = spending.leases["a"]
    lease.leased = amount
    return spending, lease, Reservation([lease], reserved, lambda: None)


def test_cost_is_not_free_again() -> None:
    """Of 100 a call reserves 40 and costs 30: what is left is 70, before and after its ledger row is stored."""
    spending, lease, reservation = leased(100, 40)
    assert lease.free == 60
    spending.observe(entry(30), stored=False)
    reservation.close()
    assert (lease.free, lease.pending) == (70, 30)
    spending.settle(spending.observed)
    assert (lease.free, lease.pending, lease.settled) == (70, 0, 30)
    assert lease.shrink() == 100, "30 of it are spent in the store, and 70 are not needed"
    assert (lease.leased, lease.free, lease.settled) == (0, 0, 0)


def test_stored_cost_waits_for_its_call() -> None:
    """The row of a queued call is stored before its reservation ends: what it has cost is not given back twice."""
    spending, lease, reservation = leased(40, 40)
    spending.observe(entry(30), stored=True)
    assert lease.shrink() == 0
    reservation.close()
    assert lease.free == 10
    assert lease.shrink() == 40


def test_call_that_costs_more_leaves_a_debt() -> None:
    """A call reserved 40 and costs 55: before its row is stored, 15 more of the lease are in use."""
    spending, lease, reservation = leased(40, 40)
    spending.observe(entry(55), stored=False)
    reservation.close()
    assert lease.free == -15
    assert lease.shrink() == -15, "the lease grows"
    spending.settle(spending.observed)
    assert lease.shrink() == 55
    assert (lease.leased, lease.settled) == (0, 0)


def test_entries_settle_in_order() -> None:
    spending, lease, _ = leased(100, 0)
    for cost in (1, None, 0, 2):
        spending.observe(entry(cost), stored=False)
    spending.observe(entry(5, key_id="unknown"), stored=False)
    spending.observe(entry(5, key_id=None), stored=False)
    spending.settle(3)
    assert (lease.pending, lease.settled) == (2, 1)
    spending.settle(6)
    assert (lease.pending, lease.settled) == (0, 3)


def test_reservation_is_released_once() -> None:
    released: list[int] = []
    lease = BudgetLease(leased=10)
    with Reservation([lease], 4, lambda: released.append(lease.reserved)) as reservation:
        assert lease.free == 6
    reservation.close()
    assert (lease.free, released) == (10, [0])
    UNLIMITED.close()
