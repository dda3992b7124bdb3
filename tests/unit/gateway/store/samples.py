"""A batch in progress, its claims and answers."""

from meritorder.gateway.state.entries import Place, Run, deferrable_entry
from meritorder.gateway.store import heartbeats
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.queue import answers, backlog, batches, requests
from meritorder.gateway.store.queue.answers import AnswerOutcome, FinishedRequest
from meritorder.gateway.store.queue.requests import ClaimedRequest, RequestAnswer

LINES = 20


def batch(database: Database) -> batches.Batch:
    """Return a batch in progress."""

    def make(connection):  # noqa: ANN001, ANN202
        added = batches.add(
            connection,
            id="batch_1",
            tenant="t",
            endpoint="/v1/chat/completions",
            completion_window="1h",
            input_file_id="file-1",
            created_s=0.0,
            expires_s=3600.0,
        )
        row = {"batch_seq": added.seq, "tenant": "t", "endpoint": added.endpoint, "model": "m", "body_bytes": 1}
        row |= {"input_tokens": 1, "output_tokens": 1, "prefix": 0, "arrived_s": 0.0, "deadline_s": 3600.0}
        requests.add(connection, [row | {"line": i, "custom_id": str(i), "state": "queued"} for i in range(LINES)])
        for name in ("a", "b"):
            heartbeats.beat(connection, name, lease_s=60.0)
        batches.claim(connection, "a", "validating")
        assert batches.begin(connection, "a", added.seq, total=LINES, tokens=2 * LINES, model="m", now_s=1.0)
        return batches.by_seq(connection, added.seq)

    added = database.submit(make).result()
    assert added is not None
    return added


def claim(database: Database, me: str, limit: int, now_s: float = 2.0) -> list[ClaimedRequest]:
    (work,) = database.read_now(lambda connection: backlog.queued_work(connection, now_s=now_s))
    return database.submit(lambda connection: requests.claim(connection, me, work, limit=limit, now_s=now_s)).result()


def answer(database: Database, me: str, request: ClaimedRequest, request_id: str = "r") -> bool:
    return store(database, me, request, request_id).stored


def store(
    database: Database, me: str, request: ClaimedRequest, request_id: str = "r", *, is_repeated: bool = False
) -> AnswerOutcome:
    item = finished(me, request, request_id, is_repeated=is_repeated)
    return database.submit(lambda connection: answers.store_all(connection, [item])).result()[0]


def finished(
    me: str, request: ClaimedRequest, request_id: str = "r", *, is_repeated: bool = False, **fields: object
) -> FinishedRequest:
    """Return an answer of 3 and 4 tokens, and its ledger entry."""
    made = RequestAnswer(
        **{"request_id": request_id, "status_code": 200, "body": b"{}", "input_tokens": 3, "output_tokens": 4} | fields
    )
    entry = deferrable_entry(request, made, Run(Place("v"), 4.0, 5.0), cost_picousd=6)
    return FinishedRequest(owner=me, request=request, answer=made, entry=entry, answered_s=5.0, is_repeated=is_repeated)
