"""Answers, their ledger entries and the counts of their batch: one transaction."""

from typing import Any

from tests.unit.gateway.store.samples import LINES, answer, batch, claim, finished, store

from meritorder.gateway.store import heartbeats
from meritorder.gateway.store.billing import ledger
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.queue import answers, batches, requests
from meritorder.gateway.store.queue.answers import AnswerOutcome, FinishedRequest


def store_all(database: Database, *items: FinishedRequest) -> list[AnswerOutcome]:
    return database.submit(lambda connection: answers.store_all(connection, items)).result()


def rows(database: Database, *names: str) -> list[tuple[Any, ...]]:
    """Return columns of the ledger."""
    return database.read_now(lambda connection: [tuple(row[name] for name in names) for row in ledger.rows(connection)])


def lose(database: Database) -> None:
    """Let gateway a be removed."""
    database.submit(lambda connection: heartbeats.stop(connection, "a")).result()
    database.submit(heartbeats.requeue_expired).result()


def test_answers_and_ledger_agree(database: Database) -> None:
    """Of 20 lines, every third fails; the last group moves the batch on."""
    seq = batch(database).seq
    lines = claim(database, "a", LINES)
    items = [finished("a", line, f"r{line.line}", status_code=200 if line.line % 3 else 500) for line in lines]
    assert all(outcome.stored for outcome in store_all(database, *items[:5]) + store_all(database, *items[5:]))
    stored = database.read_now(lambda connection: batches.by_seq(connection, seq))
    assert stored is not None
    assert (stored.done, stored.failed, stored.status, stored.finalizing_s) == (13, 7, "finalizing", 5.0)
    assert (stored.input_tokens, stored.output_tokens, stored.queued_tokens) == (3 * LINES, 4 * LINES, 0)
    results = database.read_now(lambda connection: answers.answers_by_line(connection, seq, after_line=-1, limit=LINES))
    assert rows(database, "request_id", "status_code") == [(row.request_id, row.status_code) for row in results]


def test_killed_attempts_are_counted(database: Database) -> None:
    """Two attempts are lost with their gateways: each is estimated as the tokens of the answer, 4."""
    batch(database)
    (line,) = claim(database, "a", 1)
    lose(database)
    for _ in range(2):
        again = next(request for request in claim(database, "b", LINES) if request.seq == line.seq)
        database.submit(
            lambda connection, again=again: requests.requeue(
                connection, "b", again, not_before_s=0.0, fault=False, lost_tokens=10
            )
        ).result()
        database.submit(lambda connection: requests.requeue_unstarted(connection, "b", range(1, LINES + 1))).result()
    again = next(request for request in claim(database, "b", LINES) if request.seq == line.seq)
    assert answer(database, "b", again)
    assert rows(database, "output_tokens", "lost_tokens") == [(4, 4 + 20)]


def test_late_answer_counts_once(database: Database) -> None:
    """A gateway that seemed gone answers before, or after, the one that took over: 4 tokens were lost, not 8."""
    batch(database)
    early, late = claim(database, "a", 2)
    lose(database)
    again = {request.seq: request for request in claim(database, "b", LINES)}
    assert not answer(database, "a", early, "early")
    assert answer(database, "b", again[early.seq], "r1")
    assert answer(database, "b", again[late.seq], "r2")
    assert not answer(database, "a", late, "late")
    assert rows(database, "request_id", "output_tokens", "lost_tokens") == [
        ("early", 0, 4),
        ("r1", 4, 0),
        ("r2", 4, 4),
        ("late", 0, 0),
    ]
    assert [total["requests"] for total in database.read_now(ledger.totals)] == [2]


def test_answer_of_ended_request_is_lost(database: Database) -> None:
    batch(database)
    (line,) = claim(database, "a", 1)
    database.submit(lambda connection: requests.end(connection, line.seq)).result()
    assert not answer(database, "a", line)
    assert rows(database, "output_tokens", "lost_tokens", "cost_picousd") == [(0, 4, 6)]


def test_unconfirmed_answer_is_not_repeated(database: Database) -> None:
    """The connection breaks after the commit, and the change is made again."""
    batch(database)
    (line,) = claim(database, "a", 1)
    assert store(database, "a", line).stored
    again = store(database, "a", line)
    assert again.stored
    assert again.entry is not None
    assert len(rows(database, "request_id")) == 1


def test_odd_answers_are_bounded(database: Database) -> None:
    """What no column can take neither fails nor stops the others; its ledger entry is set aside."""
    seq = batch(database).seq
    lines = claim(database, "a", 3)
    odd = {"input_tokens": 10**30, "output_tokens": -5, "reasoning_tokens": None, "error_message": "a\0b"}
    items = [finished("a", lines[0]), finished("a", lines[1], **odd), finished("a", lines[2])]
    assert all(outcome.stored for outcome in store_all(database, *items))
    assert len(rows(database, "request_id")) == 2
    assert database.read_now(ledger.rejected) == 1
    stored = database.read_now(lambda connection: batches.by_seq(connection, seq))
    assert stored is not None
    assert (stored.done, stored.input_tokens, stored.output_tokens) == (3, 2**31 - 1 + 6, 8)
