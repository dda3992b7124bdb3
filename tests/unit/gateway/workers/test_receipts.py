"""Receipts by hand: a machine at a dollar a second, shared by the requests that run on it at one time."""

import asyncio
import dataclasses
import json
import random
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.samples.batches import begin_batch
from tests.samples.service import call, open_service

from meritorder.errors import ConfigError
from meritorder.gateway.app.service import Service
from meritorder.gateway.store.billing import capacity, ledger
from meritorder.gateway.store.billing.capacity import CapacityRecord
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.billing.subjects import Subject
from meritorder.gateway.store.queue import batches
from meritorder.gateway.store.queue.batches import Batch
from meritorder.gateway.store.schema import BATCHES, LEDGER
from meritorder.study.ledger.answer import account, cost_all
from meritorder.study.ledger.attempts import ATTEMPTS, from_columns
from meritorder.study.ledger.costing import Period
from meritorder.units import utc

DAY_S = 1_790_000_000 // 86_400 * 86_400.0
GPU = {"name": "gpu", "url": "http://127.0.0.1:1/v1", "models": ["m"], "usd_per_hour": 3600}
API = {
    "name": "api",
    "url": "http://127.0.0.1:2/v1",
    "models": ["m"],
    "price": {"input_usd_per_mtok": 2, "output_usd_per_mtok": 8},
}


@dataclasses.dataclass
class _Gateway:
    service: Service
    batch: Batch

    def ran(self, *entries: dict[str, Any]) -> None:
        """Add attempts to the ledger: of the batch, unless they say otherwise."""
        defaults = {"lane": "deferrable", "tenant": "t", "key_id": None, "model": "m", "endpoint": "/v1/completions"}
        defaults |= {"arrived_s": DAY_S, "ttft_s": None, "status_code": 200, "counted": True, "cost_picousd": None}
        defaults |= {"input_tokens": 10, "output_tokens": 5, "batch_seq": self.batch.seq, "outcome": "answered"}
        rows = [
            LedgerEntry(**(defaults | {"request_id": f"r{number}"} | _place(entry) | entry))
            for number, entry in enumerate(entries)
        ]
        assert self.service.context.database.submit(lambda connection: ledger.add(connection, rows)).result() == 0

    def rented(self, from_s: float, to_s: float, usd_per_s: int = 1) -> None:
        record = CapacityRecord(
            id=f"c{from_s}",
            venue="gpu",
            replica="gpu",
            machine="",
            pricing_model="on_demand",
            picousd_per_hour=usd_per_s * 3600 * 10**12,
            minimum_billing_s=0.0,
            started_s=DAY_S + from_s,
            ready_s=DAY_S + from_s,
            seen_s=DAY_S + to_s,
        )
        self.service.context.database.submit(lambda connection: capacity.save(connection, [record])).result()

    def end(self, after_s: float, status: str = "completed") -> None:
        values = {"status": status, f"{status}_s": DAY_S + after_s}
        change = BATCHES.update().values(**values)
        self.service.context.database.submit(lambda connection: connection.execute(change)).result()

    def receipt(self) -> Any:  # noqa: ANN401
        reply = call(self.service, "GET", f"/v1/batches/{self.batch.id}/receipt")
        assert reply.status == 200, reply.json
        return reply.json["receipt"]


def _place(entry: dict[str, Any]) -> dict[str, Any]:
    on = entry.get("venue")
    return {"price_basis": "machine", "replica": "gpu"} if on == "gpu" else {"price_basis": "tokens" if on else None}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[_Gateway]:
    with open_service(tmp_path, venue=[GPU, API]) as service:
        begin_batch(service.context, lines=1)
        change = BATCHES.update().values(tenant="default", created_s=DAY_S, expires_s=DAY_S + 3600)
        service.context.database.submit(lambda connection: connection.execute(change)).result()
        batch = service.context.database.read_now(lambda connection: batches.get(connection, "default", "batch_1"))
        assert batch is not None
        yield _Gateway(service, batch)


def _run(start_s: float, end_s: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"venue": "gpu", "started_s": DAY_S + start_s, "ended_s": DAY_S + end_s, **more}


def test_machine_is_shared_with_other_work(gateway: _Gateway) -> None:
    """Alone for 10 s, with another request for 10 s: 15 dollars; idle time belongs to no request."""
    gateway.rented(0, 100)
    gateway.ran(_run(0, 20), _run(10, 30, batch_seq=None, lane="realtime"))
    gateway.end(30)
    receipt = gateway.receipt()
    assert (receipt["paid_usd"], receipt["list_usd"], receipt["attempts"]) == (15, None, 1)
    assert (receipt["deadline_kept"], receipt["spare_s"]) == (True, 3570)
    assert (receipt["saved_usd"], receipt["no_saving_because"] != "") == (None, True)
    assert "gpu: no price of tokens" in receipt["warnings"][0]


def test_attempt_over_an_hour_end_and_a_new_price(gateway: _Gateway) -> None:
    """20 s before the hour ends at a dollar a second, then 10 s at two."""
    gateway.rented(0, 3600)
    gateway.rented(3600, 4000, 2)
    gateway.ran(_run(3580, 3610))
    gateway.end(3610)
    assert gateway.receipt()["paid_usd"] == 40


def test_receipt_is_what_the_ledger_command_costs(gateway: _Gateway) -> None:
    """Two hundred attempts, every third of the batch, over three hours on a machine that is missing for a while."""
    draw = random.Random(7)
    gateway.rented(0, 4000)
    gateway.rented(5000, 9000, 3)
    runs = []
    for number in range(200):
        start_s = draw.uniform(0, 8500)
        seq = gateway.batch.seq if number % 3 == 0 else None
        runs.append(_run(start_s, start_s + draw.uniform(0, 400), batch_seq=seq))
    gateway.ran(*runs)
    gateway.end(9000)
    store = gateway.service.context.database
    columns = partial(ledger.columns, names=[column.name for column in ATTEMPTS], from_s=0.0, to_s=1e12)
    costed = cost_all(
        from_columns(store.read_now(columns)), store.read_now(capacity.paid), Period(from_s=DAY_S, to_s=DAY_S + 10_800)
    )
    by_request = {row.by["request"]: row.paid_usd for row in account(costed, ("request",)).rows}
    expected = sum(by_request[f"r{number}"] for number in range(0, 200, 3))
    assert gateway.receipt()["paid_usd"] == pytest.approx(float(expected), abs=1e-9)
    assert expected > 1000


def test_tokens_at_list_and_at_batch_price(gateway: _Gateway) -> None:
    """A million input and a tenth of that output: 2.80 USD as single calls; half of it was paid by batch API."""
    tokens = {"input_tokens": 1_000_000, "output_tokens": 100_000, "lost_tokens": 7}
    paid = {"price_basis": "batch_tokens", "cost_picousd": 1_400_000_000_000}
    gateway.ran({"venue": "api", "started_s": DAY_S, "ended_s": DAY_S + 9.0, **tokens, **paid})
    gateway.end(4000)
    receipt = gateway.receipt()
    assert (receipt["list_usd"], receipt["paid_usd"], receipt["lost_tokens"]) == (2.8, 1.4, 7)
    assert (receipt["counterfactual_usd"], receipt["saved_usd"], receipt["saved_interval"]) == (2.8, 1.4, [1.4, 1.4])
    assert (receipt["counterfactual_method"] != "", receipt["no_saving_because"]) == (True, "")
    assert [(place["venue"], place["price_basis"]) for place in receipt["places"]] == [("api", "batch_tokens")]
    assert (receipt["deadline_kept"], receipt["spare_s"], receipt["warnings"]) == (False, -400, [])


def test_retries_are_attempts_of_one_request(gateway: _Gateway) -> None:
    gateway.rented(0, 100)
    lost = {"outcome": "preempted", "status_code": None, "output_tokens": 0}
    gateway.ran(_run(0, 5, request_id="r", **lost), _run(6, 8, request_id="r", attempt=2))
    gateway.end(30)
    receipt = gateway.receipt()
    assert (receipt["attempts"], receipt["places"][0]["requests"], receipt["paid_usd"]) == (2, 1, 7)


def test_no_receipt_before_the_end(gateway: _Gateway) -> None:
    reply = call(gateway.service, "GET", "/v1/batches/batch_1/receipt")
    assert (reply.status, reply.json["status"], reply.headers[b"retry-after"]) == (202, "in_progress", b"2")
    assert (reply.json["receipt"], reply.json["total"], reply.json["completed"]) == (None, 1, 0)
    assert (reply.json["deadline_at"], reply.json["quote_id"]) == (utc(DAY_S + 3600).isoformat(), None)


def test_attempts_without_a_price_claim_no_saving(gateway: _Gateway) -> None:
    """One of two calls had no price when it ran: what was paid is too little to compare with."""
    tokens = {"venue": "api", "started_s": DAY_S, "ended_s": DAY_S + 9.0, "price_basis": "tokens"}
    gateway.ran({**tokens, "cost_picousd": 10}, {**tokens, "cost_picousd": None})
    gateway.end(30)
    receipt = gateway.receipt()
    assert (receipt["saved_usd"], receipt["counterfactual_usd"], receipt["counterfactual_method"]) == (None, None, "")
    assert receipt["no_saving_because"]


def test_receipt_that_is_missing(gateway: _Gateway) -> None:
    assert call(gateway.service, "GET", "/v1/batches/batch_2/receipt").status == 404


def test_waits_for_the_record_of_its_machine(gateway: _Gateway) -> None:
    """Another gateway may record an engine some seconds later; an end that stays unknown is not waited for."""
    gateway.rented(0, 10)
    gateway.ran(_run(0, 20))
    gateway.end(20)
    context = dataclasses.replace(gateway.service.context, now_s=lambda: DAY_S + 30)
    receipts: Any = gateway.service._receipts
    receipts._context = context
    assert asyncio.run(receipts.of(_ended(gateway))) is None
    receipts._context = dataclasses.replace(context, now_s=lambda: DAY_S + 100)
    body = asyncio.run(receipts.of(_ended(gateway)))
    assert body is not None
    assert json.loads(body)["receipt"]["paid_usd"] == 10


def _ended(gateway: _Gateway) -> Subject:
    found = gateway.service.context.database.read_now(lambda connection: batches.get(connection, "default", "batch_1"))
    assert found is not None
    return Subject.of_batch(found)


def test_receipt_does_not_change(gateway: _Gateway) -> None:
    gateway.rented(0, 100)
    gateway.ran(_run(0, 20))
    gateway.end(30)
    first = call(gateway.service, "GET", "/v1/batches/batch_1/receipt").body
    gateway.ran(_run(0, 20, request_id="late"))
    assert call(gateway.service, "GET", "/v1/batches/batch_1/receipt").body == first


def _held(gateway: _Gateway, request_id: str) -> Any:  # noqa: ANN401
    return call(gateway.service, "GET", f"/v1/requests/{request_id}/receipt")


def test_held_request_has_a_receipt(gateway: _Gateway) -> None:
    """Two attempts, the first without an answer, beside the batch in a window of 20 s; 40 s before the deadline.

    It is busy for 20 dollars, with 30 tokens of work for the batch and 30 for the request: its first attempt did none.
    """
    gateway.rented(0, 100)
    of_request = {"batch_seq": None, "tenant": "default", "request_id": "req_1", "deadline_s": DAY_S + 60}
    lost = {"outcome": "preempted", "status_code": None, "output_tokens": 0}
    gateway.ran(_run(3, 20), _run(0, 7, **of_request, **lost), _run(14, 20, **of_request, attempt=2))
    reply = _held(gateway, "req_1")
    assert reply.status == 200, reply.json
    receipt = reply.json["receipt"]
    assert (receipt["request_id"], receipt["batch_id"]) == ("req_1", "")
    assert receipt["paid_usd"] == pytest.approx(20 * 30 / 60)
    assert (receipt["total"], receipt["completed"], receipt["attempts"], receipt["status"]) == (1, 1, 2, "completed")
    assert (receipt["deadline_kept"], receipt["spare_s"]) == (True, 40)
    assert call(gateway.service, "POST", "/v1/receipts/verify", reply.json).json["valid"]
    assert _held(gateway, "req_1").body == reply.body


def test_real_time_request_has_no_deadline(gateway: _Gateway) -> None:
    """A thousand tokens in and a tenth of it out at 2 and 8 USD a million: 0.0028 USD, as real time would cost."""
    paid = {"venue": "api", "price_basis": "tokens", "cost_picousd": 2_800_000_000, "status_code": 500}
    tokens = {"input_tokens": 1000, "output_tokens": 100, "started_s": DAY_S, "ended_s": DAY_S + 2}
    gateway.ran({"batch_seq": None, "tenant": "default", "request_id": "req_1", "lane": "realtime", **paid, **tokens})
    receipt = _held(gateway, "req_1").json["receipt"]
    assert (receipt["paid_usd"], receipt["saved_usd"], receipt["status"]) == (0.0028, 0, "failed")
    assert (receipt["deadline_at"], receipt["deadline_kept"], receipt["spare_s"]) == (None, None, None)


def test_requests_of_others_and_of_batches_are_not_found(gateway: _Gateway) -> None:
    lost = {"outcome": "preempted", "batch_seq": None, "tenant": "default"}
    gateway.ran(
        _run(0, 1, batch_seq=None, request_id="req_other"),
        _run(0, 1, tenant="default", request_id="req_line"),
        _run(0, 1, request_id="req_again", **lost),
    )
    assert [_held(gateway, name).status for name in ("req_other", "req_line", "req_again", "%00", "x" * 500)] == [
        404
    ] * 5


def test_receipt_outlives_the_rows_of_its_request(gateway: _Gateway) -> None:
    gateway.ran(_run(0, 1, batch_seq=None, tenant="default", request_id="req_1"))
    first = _held(gateway, "req_1").body
    gateway.service.context.database.submit(lambda connection: connection.execute(LEDGER.delete())).result()
    assert _held(gateway, "req_1").body == first


def test_unpaid_and_unpriced_are_named(gateway: _Gateway) -> None:
    gateway.ran(_run(0, 20), {"venue": "gone", "price_basis": None, "started_s": DAY_S, "ended_s": DAY_S + 1})
    gateway.end(30)
    warnings = gateway.receipt()["warnings"]
    assert any("gpu: no paid capacity at the time of 1 attempt" in text for text in warnings)
    assert any("gone: no price for 1 attempt" in text for text in warnings)


def test_batch_that_never_ran_is_free(gateway: _Gateway) -> None:
    gateway.end(10, "failed")
    receipt = gateway.receipt()
    assert (receipt["paid_usd"], receipt["list_usd"], receipt["places"], receipt["status"]) == (0, 0, [], "failed")


def test_key_is_private_and_kept(gateway: _Gateway) -> None:
    gateway.end(10, "failed")
    gateway.receipt()
    path = gateway.service.context.settings.receipt_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_broken_key_is_a_503_and_refused_at_the_start(gateway: _Gateway, tmp_path: Path) -> None:
    gateway.end(10, "failed")
    gateway.service.context.settings.receipt_key.write_text("junk")
    reply = call(gateway.service, "GET", "/v1/batches/batch_1/receipt")
    assert (reply.status, reply.json["error"]["code"]) == (503, "receipt_key_unusable")
    with pytest.raises(ConfigError, match=r"receipt\.key"), open_service(tmp_path, venue=[API]):
        pass


def test_signature_holds_for_any_form_of_json(gateway: _Gateway) -> None:
    gateway.rented(0, 100)
    gateway.ran(_run(0, 20))
    gateway.end(30)
    signed = json.loads(call(gateway.service, "GET", "/v1/batches/batch_1/receipt").body)
    verify = "/v1/receipts/verify"
    assert call(gateway.service, "POST", verify, signed).json["valid"]
    backwards = {"signature": signed["signature"], "receipt": dict(reversed(signed["receipt"].items()))}
    backwards["receipt"]["paid_usd"] = 2e1
    assert call(gateway.service, "POST", verify, json.dumps(backwards, indent=4).encode()).json["valid"]
    for name, value in (("paid_usd", 19.99), ("paid_usd", "20"), ("status", "failed"), ("approved", True)):
        changed = {**signed, "receipt": signed["receipt"] | {name: value}}
        reply = call(gateway.service, "POST", verify, changed).json
        assert (reply["valid"], reply["reason"]) == (False, "it was changed after it was signed")
    other = signed | {"signature": signed["signature"] | {"key_id": "0" * 16}}
    assert "another key" in call(gateway.service, "POST", verify, other).json["reason"]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"no",
        b'{"receipt": 1e999999999, "signature": {"algorithm": "HMAC-SHA256", "key_id": "a", "value": "b"}}',
        b'{"receipt": {"a": 1, "a": 2}, "signature": {"algorithm": "HMAC-SHA256", "key_id": "a", "value": "b"}}',
        b'{"receipt": {}, "signature": {"algorithm": 5}}',
    ],
)
def test_what_is_no_receipt_is_refused(gateway: _Gateway, body: bytes) -> None:
    assert call(gateway.service, "POST", "/v1/receipts/verify", body).status == 400
