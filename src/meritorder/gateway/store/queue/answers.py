"""Answers of queued requests: each is stored once, with its ledger entry and the counts of its batch.

All of it is one transaction, so that ledger and results cannot disagree.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Executable, Select, bindparam, case, insert, select, update

from meritorder.gateway.store.billing import ledger
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.queue.requests import ClaimedRequest, RequestAnswer
from meritorder.gateway.store.schema import ANSWERS, BATCHES, REQUESTS
from meritorder.gateway.store.sql.queries import among, insert_rows
from meritorder.metering import words

_MAX_TOKENS: Final = 2**31 - 1
_OPEN: Final = ("in_progress", "cancelling")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRequest:
    """A request and the answer to store.

    Args:
        owner: Who claimed it.
        request: The request.
        answer: Its answer.
        entry: Its ledger entry, without the tokens of earlier attempts.
        answered_s: When the answer was complete.
        is_repeated: Whether an answer whose claim is gone was only read again, and cost nothing.
    """

    owner: str
    request: ClaimedRequest
    answer: RequestAnswer
    entry: LedgerEntry
    answered_s: float
    is_repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOutcome:
    """What became of an answer.

    Args:
        stored: Whether it is the answer of its request; another attempt may have been faster.
        entry: What the ledger says of it; None if it says nothing.
    """

    stored: bool
    entry: LedgerEntry | None


def add_answered(
    connection: Connection, answered: Sequence[tuple[dict[str, Any], RequestAnswer]], *, now_s: float
) -> None:
    """Add requests that need no venue, with their answers."""
    added = insert(REQUESTS).returning(REQUESTS.c.seq, sort_by_parameter_order=True)
    seqs = connection.execute(added, [row for row, _ in answered]).scalars()
    rows = [_row(seq, answer, now_s) for seq, (_, answer) in zip(seqs, answered, strict=True)]
    insert_rows(connection, ANSWERS, _COLUMNS, rows)


def store_all(connection: Connection, finished: Sequence[FinishedRequest]) -> list[AnswerOutcome]:
    """`running → done | failed`: store the answers whose claims are still valid; return what became of each."""
    held = _held(connection, finished)
    outcomes: list[AnswerOutcome] = []
    stored: list[FinishedRequest] = []
    entries: list[LedgerEntry] = []
    for item in finished:
        lost = held.get((item.request.seq, item.request.attempt, item.owner))
        if lost is not None:
            answer = _bounded(item.answer)
            stored.append(item if answer is item.answer else replace(item, answer=answer))
            entry = _with_lost(item.entry, lost.tokens + lost.attempts * answer.output_tokens)
        elif _is_stored(connection, item):
            outcomes.append(AnswerOutcome(stored=True, entry=item.entry))  # the confirmation was lost
            continue
        elif item.is_repeated:
            outcomes.append(AnswerOutcome(stored=False, entry=None))
            continue
        else:
            entry = _late_entry(connection, item)
        entries.append(entry)
        outcomes.append(AnswerOutcome(stored=lost is not None, entry=entry))
    _finish(connection, stored)
    _count(connection, stored)
    ledger.add(connection, entries)
    return outcomes


@dataclass(frozen=True, slots=True)
class _Lost:
    """What earlier attempts of a request lost: known tokens, and attempts of which they are unknown."""

    tokens: int
    attempts: int


def _held(connection: Connection, finished: Sequence[FinishedRequest]) -> dict[tuple[int, int, str], _Lost]:
    """Return what earlier attempts lost, by the key, attempt and owner of each request whose claim is valid."""
    seqs = [item.request.seq for item in finished]
    rows = connection.execute(_locked(connection.dialect.name), {"seqs": seqs})
    return {
        (seq, attempt, owner): _Lost(tokens, attempts)
        for seq, state, attempt, owner, tokens, attempts in rows.all()
        if state == "running"
    }


@cache
def _locked(dialect: str) -> Executable:
    """Return the query of requests by key: not of those that run, of which PostgreSQL might read the whole index."""
    columns = (
        REQUESTS.c.seq,
        REQUESTS.c.state,
        REQUESTS.c.attempt,
        REQUESTS.c.owner,
        REQUESTS.c.lost_tokens,
        REQUESTS.c.lost_attempts,
    )
    return select(*columns).where(among(dialect, REQUESTS.c.seq, "seqs")).order_by(REQUESTS.c.seq).with_for_update()


def _with_lost(entry: LedgerEntry, lost_tokens: int) -> LedgerEntry:
    return msgspec.structs.replace(entry, lost_tokens=min(lost_tokens, _MAX_TOKENS)) if lost_tokens else entry


def _is_stored(connection: Connection, item: FinishedRequest) -> bool:
    query = select(ANSWERS.c.request_id).where(ANSWERS.c.request_seq == item.request.seq)
    return connection.execute(query).scalar() == item.answer.request_id


def _late_entry(connection: Connection, item: FinishedRequest) -> LedgerEntry:
    """Return the entry of an answer whose claim was lost: its tokens are lost.

    If the request was queued again because its gateway seemed gone, they are counted there, as an estimate.
    """
    seq = item.request.seq
    uncounted = update(REQUESTS).where(
        REQUESTS.c.seq == seq, REQUESTS.c.state.in_(("queued", "running")), REQUESTS.c.lost_attempts > 0
    )
    is_here = connection.execute(uncounted.values(lost_attempts=REQUESTS.c.lost_attempts - 1)).rowcount == 1
    answered = connection.execute(select(ANSWERS.c.request_seq).where(ANSWERS.c.request_seq == seq)).first()
    lost = item.entry.output_tokens if is_here or answered is None else 0
    return msgspec.structs.replace(item.entry, output_tokens=0, lost_tokens=lost, outcome=words.SUPERSEDED)


def _bounded(answer: RequestAnswer) -> RequestAnswer:
    """Return an answer that every column can take, whatever its venue reported."""
    message = answer.error_message
    counts = (answer.input_tokens, answer.cached_tokens, answer.output_tokens, answer.reasoning_tokens)
    if message is None and all(type(count) is int and 0 <= count <= _MAX_TOKENS for count in counts):
        return answer
    return replace(
        answer,
        error_message=message.replace("\0", "") if message else message,
        input_tokens=_tokens(answer.input_tokens),
        cached_tokens=_tokens(answer.cached_tokens),
        output_tokens=_tokens(answer.output_tokens),
        reasoning_tokens=_tokens(answer.reasoning_tokens),
    )


def _tokens(count: object) -> int:
    return min(max(count, 0), _MAX_TOKENS) if isinstance(count, int) else 0


def _finish(connection: Connection, stored: Sequence[FinishedRequest]) -> None:
    for state, succeeded in (("done", True), ("failed", False)):
        seqs = [item.request.seq for item in stored if item.answer.succeeded == succeeded]
        if seqs:
            connection.execute(_end(connection.dialect.name), {"seqs": seqs, "end_state": state})
    rows = [_row(item.request.seq, item.answer, item.answered_s) for item in stored]
    insert_rows(connection, ANSWERS, _COLUMNS, rows)


@cache
def _end(dialect: str) -> Executable:
    ended = update(REQUESTS).where(among(dialect, REQUESTS.c.seq, "seqs"))
    return ended.values(state=bindparam("end_state"), owner=None)


def _row(seq: int, answer: RequestAnswer, answered_s: float) -> tuple[Any, ...]:
    return (
        seq,
        answer.request_id,
        answer.status_code,
        answer.body,
        answer.error_code,
        answer.error_message,
        answer.venue,
        answered_s,
    )


def _count(connection: Connection, stored: Sequence[FinishedRequest]) -> None:
    """Count answers in their batches; the last one moves a batch to `finalizing`."""
    by_batch: defaultdict[int, list[FinishedRequest]] = defaultdict(list)
    for item in stored:
        if item.request.batch_seq is not None:
            by_batch[item.request.batch_seq].append(item)
    for batch_seq, items in sorted(by_batch.items()):
        if not connection.execute(_COUNT, {"of_batch": batch_seq, **_sums(items)}).scalar():
            continue
        connection.execute(
            update(BATCHES)
            .where(BATCHES.c.seq == batch_seq, BATCHES.c.status.in_(_OPEN))
            .values(
                status="finalizing",
                finalizing_s=max(item.answered_s for item in items),
                ending=case((BATCHES.c.status == "cancelling", "cancelled"), else_="completed"),
                owner=None,
            )
        )


def _sums(items: Sequence[FinishedRequest]) -> dict[str, int]:
    """Return what is added to the columns of a batch."""
    done = sum(item.answer.succeeded for item in items)
    estimated_tokens = sum(item.request.input_tokens + item.request.output_tokens for item in items)
    return {
        "more_done": done,
        "more_failed": len(items) - done,
        "more_queued_tokens": -estimated_tokens,
        "more_input_tokens": sum(item.answer.input_tokens for item in items),
        "more_cached_tokens": sum(item.answer.cached_tokens for item in items),
        "more_output_tokens": sum(item.answer.output_tokens for item in items),
        "more_reasoning_tokens": sum(item.answer.reasoning_tokens for item in items),
    }


def answers_by_line(connection: Connection, batch_seq: int, *, after_line: int, limit: int) -> list[Any]:
    """Return requests of a batch with their answers, by line; columns of a missing answer are null."""
    query: Select[Any] = (
        select(
            REQUESTS.c.line,
            REQUESTS.c.custom_id,
            REQUESTS.c.state,
            ANSWERS.c.request_id,
            ANSWERS.c.status_code,
            ANSWERS.c.body,
            ANSWERS.c.error_code,
            ANSWERS.c.error_message,
        )
        .select_from(REQUESTS.outerjoin(ANSWERS, ANSWERS.c.request_seq == REQUESTS.c.seq))
        .where(REQUESTS.c.batch_seq == batch_seq, REQUESTS.c.line > after_line)
        .order_by(REQUESTS.c.line)
        .limit(limit)
    )
    return list(connection.execute(query))


def find_answer(connection: Connection, seq: int) -> RequestAnswer | None:
    """Return the answer of a single call, if there is one."""
    row = connection.execute(select(ANSWERS).where(ANSWERS.c.request_seq == seq)).first()
    if row is None:
        return None
    return RequestAnswer(
        request_id=row.request_id,
        status_code=row.status_code,
        body=row.body,
        error_code=row.error_code,
        error_message=row.error_message,
        venue=row.venue,
    )


_COLUMNS: Final = tuple(ANSWERS.columns.keys())
_SUMMED: Final = (
    "done",
    "failed",
    "queued_tokens",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
)
_COUNT: Final = (
    update(BATCHES)
    .where(BATCHES.c.seq == bindparam("of_batch"))
    .values({name: BATCHES.c[name] + bindparam(f"more_{name}", type_=BATCHES.c[name].type) for name in _SUMMED})
    .returning(BATCHES.c.done + BATCHES.c.failed >= BATCHES.c.total)
)
