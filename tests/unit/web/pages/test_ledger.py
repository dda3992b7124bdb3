"""Ledger and proof: the numbers of `meritorder ledger`, for those who may see them."""

import asyncio
import time
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient
from tests.samples.ledgers import attempts, replica
from tests.samples.site import HOSTILE, KnownKeys
from tests.unit.web.test_access import sign_in

from meritorder.errors import TraceError
from meritorder.records.accounting import LedgerReport, RunningCommitment
from meritorder.study.ledger.answer import account, cost_all, whole_period
from meritorder.web.access import Access
from meritorder.web.app import Site, create_app
from meritorder.web.pages.ledger import Ledgers

NOW_S = time.time()
ROWS = attempts(
    {
        "tenant": HOSTILE,
        "workload": "=cmd()",
        "started_s": NOW_S - 3000,
        "ended_s": NOW_S - 2000,
        "arrived_s": NOW_S - 3000,
    },
    {
        "tenant": "ops",
        "workload": HOSTILE,
        "started_s": NOW_S - 1500,
        "ended_s": NOW_S - 1000,
        "arrived_s": NOW_S - 1500,
    },
)
PAID = [replica(NOW_S - 3600, NOW_S, "3.6")]


def read(_from_s: float, _to_s: float) -> Any:  # noqa: ANN401 - attempts, capacity, quotes
    return ROWS, PAID, ()


def client(reader: Any = read) -> TestClient:  # noqa: ANN401
    return TestClient(create_app((), Site(access=Access(gateway=KnownKeys()), read_ledger=reader)))


def test_page_shows_what_the_command_shows() -> None:
    expected = account(cost_all(ROWS, PAID, whole_period(ROWS, PAID)), ("tenant",))
    with client() as browser:
        sign_in(browser, "admin")
        report = msgspec.json.decode(browser.get("/api/ledger?by=tenant").content, type=LedgerReport)
        page = browser.get("/ledger?by=tenant").text
    assert (report.paid_usd, report.rows) == (expected.paid_usd, expected.rows)
    assert "(idle)" in page
    assert HOSTILE not in page


def test_tenant_sees_nothing_of_others() -> None:
    """The tenant ran for 1,000 seconds at $3.60 an hour: one dollar."""
    with client() as browser:
        sign_in(browser, "tenant")
        for path in (
            "/ledger?by=tenant",
            "/ledger?by=workload",
            "/proof",
            "/ledger/costs.csv",
            "/api/ledger?by=use&saved=1",
        ):
            answer = browser.get(path)
            assert answer.status_code == 200
            assert "ops" not in answer.text
            assert "<script>" not in answer.text.replace("<script src", "") or not path.startswith(
                ("/ledger?", "/proof")
            )
        report = msgspec.json.decode(browser.get("/api/ledger").content, type=LedgerReport)
    assert (report.paid_usd.quantize(Decimal("0.000001")), report.requests) == (Decimal(1), 1)
    assert (report.idle_usd, report.saved_usd) == (0, None)
    assert "for all tenants together" in report.no_saving_because


@pytest.mark.parametrize("query", ["period=1y", "by=password", "period=7d&by=day,tenant"])
def test_unknown_questions_are_refused(query: str) -> None:
    with client() as browser:
        sign_in(browser, "admin")
        assert browser.get(f"/ledger?{query}").status_code == 422


def test_empty_ledger_is_said() -> None:
    with client(lambda *_: (ROWS.clear(), [], ())) as browser:
        sign_in(browser, "admin")
        assert "no attempt and no paid capacity" in browser.get("/ledger").text
        assert browser.get("/api/ledger").status_code == 422


def test_slow_ledger_is_waited_for() -> None:
    def slow(from_s: float, to_s: float) -> Any:  # noqa: ANN401
        time.sleep(1.0)
        return read(from_s, to_s)

    with client(slow) as browser:
        sign_in(browser, "admin")
        assert 'data-events="/ledger/progress?period=1d' in browser.get("/ledger?period=1d").text
        assert "event: over" in browser.get("/ledger/progress?period=1d").text
        assert "were paid for 2 requests" in browser.get("/ledger?period=1d").text


@pytest.mark.parametrize("error", [TraceError("cannot be read", where="store"), OSError("cannot be read")])
def test_store_that_fails_is_read_again(error: Exception) -> None:
    errors = [error]

    def fail(from_s: float, to_s: float) -> Any:  # noqa: ANN401
        for failure in errors:
            raise failure
        return read(from_s, to_s)

    with client(fail) as browser:
        sign_in(browser, "admin")
        assert "cannot be read" in browser.get("/ledger").text
        errors.clear()
        assert "event: over" in browser.get("/ledger/progress").text  # however long it takes
        assert "were paid for" in browser.get("/ledger").text


def test_sums_of_days_answer_what_needs_no_rows() -> None:
    """Hours need rows; days and tenants do not, and neither does what a tenant may see."""
    asked: list[tuple[Any, ...]] = []

    def read_days(by: Any, from_s: float | None, tenant: str | None) -> LedgerReport:  # noqa: ANN401
        asked.append((*by, from_s is None, tenant))
        return account(cost_all(ROWS, PAID, whole_period(ROWS, PAID)), by)

    def no_rows(*_: object) -> Any:  # noqa: ANN401
        raise TraceError("rows were read", where="store")

    site = Site(access=Access(gateway=KnownKeys()), read_ledger=no_rows, read_days=read_days)
    with TestClient(create_app((), site)) as browser:
        sign_in(browser, "admin")
        assert "were paid for 2 requests" in browser.get("/ledger?by=tenant&period=all").text
        assert "rows were read" in browser.get("/ledger?by=hour").text
        sign_in(browser, "tenant")
        assert "for all tenants together" in browser.get("/api/ledger?by=model&period=30d").text
    assert asked[1:] == [("tenant", True, None), ("model", False, HOSTILE)]


def test_commitments_in_force_are_shown_to_the_operator() -> None:
    """Of two venues; the machine of one is committed for another 30 days, of the other without a stated end."""
    ends = {"ends_at": "2027-01-31T00:00:00+00:00", "days_left": 29}
    running = tuple(
        RunningCommitment(venue=name, machine="", pricing_model="reserved", usd_per_hour=Decimal("2.5"), **end)
        for name, end in (("gpu", ends), ("night", {"ends_at": None, "days_left": None}))
    )
    site = Site(access=Access(gateway=KnownKeys()), read_ledger=read, read_commitments=lambda _: running)
    with TestClient(create_app((), site)) as browser:
        sign_in(browser, "admin")
        page = browser.get("/ledger").text
        assert "gpu (reserved) at $2.50 an hour, ends soon: until 2027-01-31, in 29 days" in page
        assert "night (reserved) at $2.50 an hour, without a stated end" in page
        assert browser.get("/api/ledger").json()["commitments"][0]["days_left"] == 29
        sign_in(browser, "tenant")
        assert "Commitments" not in browser.get("/ledger").text


def test_saving_of_today_is_not_waited_for() -> None:
    """The model is not known, so that real time alone cannot be simulated: nothing is claimed."""
    asked_s: list[float] = []

    def read_today(from_s: float | None, _: float) -> Any:  # noqa: ANN401
        assert from_s is not None
        asked_s.append(from_s)
        return ROWS, PAID, ()

    async def ask() -> list[tuple[str, str]]:
        ledgers = Ledgers(read_today)
        answers = [await ledgers.find_saving()]
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
        return [*answers, await ledgers.find_saving()]

    waiting, known = asyncio.run(ask())
    assert waiting == ("\N{EN DASH}", "real time alone is being simulated")
    assert known[1] == "no saving is claimed: unknown model 'm'"
    assert [from_s % 86_400 for from_s in asked_s] == [0.0]


def test_unreadable_ledger_is_not_read_at_each_look() -> None:
    asked: list[float] = []

    def refuse(*_: object) -> Any:  # noqa: ANN401
        asked.append(time.time())
        raise TraceError("is empty", where="ledger")

    async def ask() -> list[str]:
        ledgers = Ledgers(refuse)
        await ledgers.find_saving()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
        return [(await ledgers.find_saving())[1] for _ in range(5)]

    assert set(asyncio.run(ask())) == {"ledger: is empty"}
    assert len(asked) == 1
