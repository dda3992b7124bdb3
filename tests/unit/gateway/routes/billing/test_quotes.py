"""Quotes by hand: an API at 2 and 8 USD per million tokens, at half of it as a batch."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.samples.service import call, open_service

from meritorder.gateway.app.service import Service
from meritorder.gateway.store import files, keys
from meritorder.gateway.store.billing import ledger, quotes
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.files import StoredFile
from meritorder.gateway.store.keys import Budget, Key
from meritorder.gateway.store.quotas import budgets
from meritorder.gateway.store.schema import BATCHES

API = {
    "name": "api",
    "kind": "openai",
    "url": "http://127.0.0.1:2/v1",
    "models": ["m"],
    "batch": True,
    "price": {"input_usd_per_mtok": 2, "output_usd_per_mtok": 8},
}
GPU = {"name": "gpu", "url": "http://127.0.0.1:1/v1", "models": ["own"], "usd_per_hour": 3.6, "max_concurrency": 10}
ENDPOINT = "/v1/chat/completions"


def _lines(count: int, model: str = "m") -> bytes:
    body = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "x" * 400}]}
    line = {"method": "POST", "url": ENDPOINT, "body": body}
    return b"".join(json.dumps(line | {"custom_id": str(number)}).encode() + b"\n" for number in range(count))


def _body_tokens(model: str = "m") -> int:
    """Return the tokens of a line's body: a token for four bytes."""
    return len(json.dumps(json.loads(_lines(1, model))["body"]).encode()) // 4


@pytest.fixture
def service(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    lanes = {"honor_quotes": getattr(request, "param", True)}
    with open_service(tmp_path, venue=[API, GPU], lanes=lanes) as opened:
        _upload(opened, "file-1", _lines(1000))
        yield opened


def _upload(service: Service, file_id: str, content: bytes) -> None:
    blob = f"{file_id}.jsonl"
    folder = Path(service.context.settings.blobs_url.removeprefix("file://"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / blob).write_bytes(content)
    named = {"id": file_id, "tenant": "default", "filename": blob, "purpose": "batch", "blob": blob, "created_s": 0.0}
    file = StoredFile(**named, bytes=len(content))
    service.context.database.submit(lambda connection: files.add(connection, file)).result()


def _quote(service: Service, file_id: str = "file-1") -> Any:  # noqa: ANN401
    reply = call(service, "POST", "/v1/quotes", {"input_file_id": file_id, "endpoint": ENDPOINT})
    assert reply.status == 200, reply.json
    return reply.json


def _batch(service: Service, quote_id: str, window: str = "24h", **changes: Any) -> Any:  # noqa: ANN401
    fields = {"input_file_id": "file-1", "endpoint": ENDPOINT, "completion_window": window}
    return call(service, "POST", "/v1/batches", fields | {"metadata": {"quote_id": quote_id}} | changes)


def test_patience_has_a_price(service: Service) -> None:
    """A thousand requests; a day is enough for the batch API, whose turnaround is taken as half of its window."""
    quote = _quote(service)
    tokens = 1000 * _body_tokens()
    assert (quote["requests"], quote["input_tokens"], quote["output_tokens"]) == (1000, tokens, 100_000)
    single_usd = (tokens * 2 + 100_000 * 8) / 1e6
    offers = {offer["patience"]: offer for offer in quote["offers"]}
    assert list(offers) == ["now", "15m", "1h", "4h", "24h"]
    assert offers["now"]["usd"] == offers["4h"]["usd"] == pytest.approx(single_usd, abs=1e-12)
    assert offers["24h"]["usd"] == pytest.approx(single_usd / 2, abs=1e-12)
    assert (offers["24h"]["price_basis"], offers["24h"]["takes_s"]) == ("batch_tokens", 43_200)
    # Half of 64 sequences at 0.1 s a token: 320 tokens a second.
    assert offers["1h"]["takes_s"] == pytest.approx((tokens + 100_000) / 320, abs=0.1)
    assert call(service, "GET", f"/v1/quotes/{quote['id']}").json == quote


def test_what_takes_longer_has_no_price(service: Service) -> None:
    _upload(service, "file-2", _lines(5000))
    offers = {offer["patience"]: offer for offer in _quote(service, "file-2")["offers"]}
    assert (offers["15m"]["usd"], offers["15m"]["reason"]) == (None, "no way with a price ends within it")
    assert offers["1h"]["usd"] is not None


def test_machine_is_priced_by_its_time(service: Service) -> None:
    """Half of ten sequences at 0.1 s a token are 50 tokens a second; a second costs 0.001 USD."""
    _upload(service, "file-3", _lines(100, "own"))
    quote = _quote(service, "file-3")
    tokens = 100 * (_body_tokens("own") + 100)
    offer = quote["offers"][2]
    assert (offer["venue"], offer["price_basis"], offer["is_measured"]) == ("gpu", "machine", False)
    assert offer["usd"] == pytest.approx(tokens / 50 * 0.001)


def test_machine_costs_what_it_did_before(service: Service) -> None:
    """A hundred answers of 400 prompt tokens and 100 more took a second each, alone, at 0.001 USD a second."""
    at_s = 1_790_000_000.0
    row = {"request_id": "r", "arrived_s": at_s, "ttft_s": None, "lane": "deferrable", "tenant": "t", "key_id": None}
    row |= {"model": "own", "endpoint": ENDPOINT, "venue": "gpu", "replica": "gpu", "price_basis": "machine"}
    row |= {"status_code": 200, "input_tokens": 400, "output_tokens": 100, "counted": True}
    rows = [LedgerEntry(**row, started_s=at_s + 2 * number, ended_s=at_s + 2 * number + 1) for number in range(100)]
    service.context.database.submit(lambda connection: ledger.add(connection, rows)).result()
    _upload(service, "file-3", _lines(100, "own"))
    offer = _quote(service, "file-3")["offers"][2]
    # An output token is the work of four input tokens.
    share = (_body_tokens("own") + 4 * 100) / (400 + 4 * 100)
    assert offer["usd"] == pytest.approx(100 * 0.001 * share)


def test_earlier_batches_show_what_files_need(service: Service) -> None:
    """Ten tokens a request were answered, and an input token was counted for each eight bytes."""
    batch = _batch(service, "").json
    used = {"status": "completed", "completed_s": 1.0, "model": "m", "done": 1000, "output_tokens": 10_000}
    change = BATCHES.update().values(**used, input_tokens=len(_lines(1000)) // 8)
    service.context.database.submit(lambda connection: connection.execute(change)).result()
    assert batch["status"] == "validating"
    quote = _quote(service)
    assert (quote["input_tokens"], quote["output_tokens"]) == (len(_lines(1000)) // 8, 10_000)
    assert "1 earlier batch" in quote["assumptions"][0]


def test_quote_is_used_once(service: Service) -> None:
    quote_id = _quote(service)["id"]
    assert _batch(service, quote_id).status == 200
    again = _batch(service, quote_id)
    assert (again.status, again.json["error"]["code"]) == (400, "invalid_quote")
    assert len(call(service, "GET", "/v1/batches").json["data"]) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"completion_window": "5m"}, "has no price for a window of '5m'"),
        ({"input_file_id": "file-2"}, "is for the file 'file-1'"),
        ({"metadata": {"quote_id": "quote_none"}}, "no quote 'quote_none' was found"),
    ],
)
def test_quote_for_something_else_is_refused(service: Service, changes: dict[str, Any], says: str) -> None:
    _upload(service, "file-2", _lines(5000))
    reply = _batch(service, _quote(service)["id"], **changes)
    assert reply.status == 400
    assert says in reply.json["error"]["message"]


def test_expired_quote_is_refused(service: Service) -> None:
    quote_id = _quote(service)["id"]
    sooner = quotes.QUOTES.update().values(valid_until_s=1.0)
    service.context.database.submit(lambda connection: connection.execute(sooner)).result()
    assert _batch(service, quote_id).json["error"]["code"] == "invalid_quote"


def test_own_metadata_stays_possible(service: Service) -> None:
    assert _batch(service, "", metadata={"quote_id": "Q-2026-7"}).status == 200


def test_quotes_are_a_tenants_own(tmp_path: Path) -> None:
    with open_service(tmp_path, venue=[API], server={"require_keys": True}) as service:
        for tenant in ("default", "other"):
            key = Key(id=f"key_{tenant}", name=tenant, tenant=tenant, admin=False)
            add = partial(keys.add, key=key, secret=f"sk-mo-{tenant}", now_s=0.0)
            service.context.database.submit(add).result()
        _upload(service, "file-1", _lines(3))
        bearer = {name: ((b"authorization", f"Bearer sk-mo-{name}".encode()),) for name in ("default", "other")}
        fields = {"input_file_id": "file-1", "endpoint": ENDPOINT}
        quote = call(service, "POST", "/v1/quotes", fields, headers=bearer["default"]).json
        assert call(service, "GET", f"/v1/quotes/{quote['id']}", headers=bearer["other"]).status == 404
        assert call(service, "POST", "/v1/quotes", fields, headers=bearer["other"]).status == 400


@pytest.mark.parametrize("service", [True, False], indirect=True)
def test_batch_is_charged_what_was_quoted(service: Service) -> None:
    """It was cancelled after a quarter of its lines, at no cost: a quarter of the quote is charged if it is honored."""
    honored = service.context.settings.lanes.honor_quotes
    quote = _quote(service)
    batch = _batch(service, quote["id"], "4h").json
    offered = next(offer["usd"] for offer in quote["offers"] if offer["patience"] == "4h")
    charged = round(offered * 1e12) // 4 / 1e12
    database = service.context.database
    budget = Budget(id="key_1", amount_picousd=10**14, tenant="default")
    database.submit(partial(budgets.set_budget, budget=budget, now_s=0.0)).result()
    owner = Key(id="key_1", name="k", tenant="default", admin=False)
    database.submit(partial(keys.add, key=owner, secret="sk-mo-1", now_s=0.0)).result()  # noqa: S106 - of a test
    for table in (BATCHES, quotes.QUOTES):
        database.submit(
            lambda connection, table=table: connection.execute(table.update().values(key_id="key_1"))
        ).result()
    ended = BATCHES.update().values(status="cancelled", cancelled_s=service.context.now_s(), total=1000, done=250)
    database.submit(lambda connection: connection.execute(ended)).result()
    receipt = call(service, "GET", f"/v1/batches/{batch['id']}/receipt").json["receipt"]
    assert (receipt["quote_id"], receipt["quoted_usd"], receipt["paid_usd"]) == (quote["id"], offered, 0)
    assert receipt["charged_usd"] == receipt["difference_usd"] == (charged if honored else 0)
    (state,) = database.read_now(partial(budgets.states, now_s=service.context.now_s()))
    assert state.spent_picousd == (round(charged * 1e12) if honored else 0)
    database.submit(partial(budgets.set_budget, budget=budget, now_s=service.context.now_s())).result()
    (again,) = database.read_now(partial(budgets.states, now_s=service.context.now_s()))
    assert again.spent_picousd == state.spent_picousd, "a changed budget counts the same"


def test_quote_is_settled_without_being_asked(service: Service) -> None:
    """As after a kill: the receipt of a finished batch is issued by the gateway itself, once."""
    quote = _quote(service)
    batch = _batch(service, quote["id"]).json
    ended = BATCHES.update().values(status="completed", completed_s=service.context.now_s(), total=1, done=1)
    database = service.context.database
    database.submit(lambda connection: connection.execute(ended)).result()
    for _ in range(2):
        asyncio.run(service._receipts.settle())
    (settled,) = database.read_now(partial(quotes.settled, from_s=0.0, to_s=1e12))
    offered = quote["offers"][-1]["usd"]
    assert (settled.charged_picousd, settled.paid_picousd) == (round(offered * 1e12), 0)
    receipt = call(service, "GET", f"/v1/batches/{batch['id']}/receipt").json["receipt"]
    assert receipt["charged_usd"] == offered


@pytest.mark.parametrize("content", [b"", b"no json\n", _lines(1, "unknown"), b"\xff\xfe\n", b"{}\n"])
def test_file_without_a_request_has_no_quote(service: Service, content: bytes) -> None:
    _upload(service, "file-4", content)
    reply = call(service, "POST", "/v1/quotes", {"input_file_id": "file-4", "endpoint": ENDPOINT})
    assert (reply.status, reply.json["error"]["param"]) == (400, "input_file_id")
