"""A batch in progress, in the store of a service whose clock stands."""

from meritorder.gateway.state.context import Context
from meritorder.gateway.state.entries import Place, Run, deferrable_entry
from meritorder.gateway.store import heartbeats
from meritorder.gateway.store.queue import backlog, batches, requests
from meritorder.gateway.store.queue.answers import FinishedRequest, store_all
from meritorder.gateway.store.queue.batches import Batch
from meritorder.gateway.store.queue.requests import RequestAnswer

WINDOW_S = 3600.0


def begin_batch(context: Context, *, lines: int, name: str = "batch_1") -> Batch:
    """Add a batch whose input was read: its lines are queued."""
    now_s, owner = context.now_s(), context.instance_id

    def begin(connection):  # noqa: ANN001, ANN202
        batch = batches.add(
            connection,
            id=name,
            tenant="t",
            endpoint="/v1/completions",
            completion_window="1h",
            input_file_id="file-1",
            created_s=now_s,
            expires_s=now_s + WINDOW_S,
        )
        row = {"batch_seq": batch.seq, "tenant": "t", "endpoint": batch.endpoint, "model": "m", "body_bytes": 2}
        row |= {"input_tokens": 10, "output_tokens": 20, "prefix": 0, "arrived_s": now_s, "state": "queued"}
        row |= {"deadline_s": batch.expires_s}
        requests.add(connection, [row | {"line": line, "custom_id": f"c{line}"} for line in range(lines)])
        heartbeats.beat(connection, owner, lease_s=60.0)
        batches.claim(connection, owner, "validating")
        batches.begin(connection, owner, batch.seq, total=lines, tokens=30 * lines, model="m", now_s=now_s)

    context.database.submit(begin).result()
    return only_batch(context, name)


def only_batch(context: Context, name: str = "batch_1") -> Batch:
    """Return the batch as it is stored now."""
    batch = context.database.read_now(lambda connection: batches.get(connection, "t", name))
    assert batch is not None
    return batch


def claim_lines(context: Context, *, limit: int, owner: str | None = None) -> list[requests.ClaimedRequest]:
    """Claim lines of the batch, as a dispatcher does."""
    now_s = context.now_s()

    def claim(connection):  # noqa: ANN001, ANN202
        (work,) = backlog.queued_work(connection, now_s=now_s)
        return requests.claim(connection, owner or context.instance_id, work, limit=limit, now_s=now_s)

    return context.database.submit(claim).result()


def answer_lines(context: Context, *answers: RequestAnswer) -> None:
    """Store answers to the next lines of the batch."""
    for request, answer in zip(claim_lines(context, limit=len(answers)), answers, strict=True):
        now_s = context.now_s()
        entry = deferrable_entry(request, answer, Run(Place("v"), now_s, now_s), cost_picousd=None)
        finished = FinishedRequest(
            owner=context.instance_id, request=request, answer=answer, entry=entry, answered_s=now_s
        )
        context.database.submit(lambda connection, finished=finished: store_all(connection, [finished])).result()
