"""Work that goes astray between its claim and its first step."""

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection
from tests.e2e.gateway.conftest import configuration

from meritorder.gateway import config
from meritorder.gateway.app import server
from meritorder.gateway.app.service import Service
from meritorder.gateway.store import requests
from meritorder.gateway.store.requests import ClaimedRequest, QueuedRequests, RequestAnswer
from meritorder.gateway.venues.venues import RunningRequest, Venue

CALLS = 6


def queue(service: Service) -> list[int]:
    """Queue calls of their own, and return their keys."""
    body = b'{"model": "stub", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}'
    fields = {
        "tenant": "default",
        "endpoint": "/v1/chat/completions",
        "model": "stub",
        "body": body,
        "body_bytes": len(body),
        "input_tokens": 1,
        "output_tokens": 2,
        "prefix": 0,
        "arrived_s": time.time(),
        "deadline_s": time.time() + 3600,
    }
    add = service.context.database.submit
    return [
        add(lambda connection, n=n: requests.add_call(connection, id=f"req_{n}", **fields)).result()  # type: ignore[misc]
        for n in range(CALLS)
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["called back", "failed"])
async def test_what_had_not_begun_runs_again_and_leaves_its_seat(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    service = server.build_service(config.read(configuration(tmp_path, engine)))
    venue, dispatcher, hindered = service.venues.all[0], service.dispatcher, set[int]()
    begin, ask = dispatcher._begin, dispatcher._attempts.send

    def begin_and_call_back(request: ClaimedRequest, at: Venue, *, urgent: bool) -> None:
        begin(request, at, urgent=urgent)
        if how == "called back" and request.seq not in hindered:
            hindered.add(request.seq)
            at.preempt(1)

    async def fail_once(request: ClaimedRequest, at: Venue, seat: RunningRequest) -> RequestAnswer:
        if how == "failed" and request.seq not in hindered:
            hindered.add(request.seq)
            raise RuntimeError("a bug of ours")
        return await ask(request, at, seat)

    monkeypatch.setattr(dispatcher, "_begin", begin_and_call_back)
    monkeypatch.setattr(dispatcher._attempts, "send", fail_once)
    await service.start()
    try:
        answers = [dispatcher.wait_for(seq) for seq in queue(service)]
        dispatcher.wake()
        async with asyncio.timeout(20):
            given = await asyncio.gather(*answers)
    finally:
        await service.stop()
    assert [each.status_code for each in given] == [200] * CALLS
    assert len(hindered) == CALLS
    assert venue.deferrable == []
    assert dispatcher.tracked() == set()


@pytest.mark.asyncio
async def test_a_claim_of_which_nobody_was_told_is_given_back(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database made it, and died before it could say so."""
    service = server.build_service(config.read(configuration(tmp_path, engine)))
    claim, untold = requests.claim, set[int]()

    def claim_and_die(
        connection: Connection, me: str, work: QueuedRequests, *, limit: int, now_s: float
    ) -> list[ClaimedRequest]:
        claimed = claim(connection, me, work, limit=limit, now_s=now_s)
        told = [each for each in claimed if each.seq in untold]
        untold.update(each.seq for each in claimed)
        return told

    monkeypatch.setattr(requests, "claim", claim_and_die)
    await service.start()
    try:
        answers = [service.dispatcher.wait_for(seq) for seq in queue(service)]
        service.dispatcher.wake()
        async with asyncio.timeout(20):
            given = await asyncio.gather(*answers)
    finally:
        await service.stop()
    assert [each.status_code for each in given] == [200] * CALLS
    assert len(untold) == CALLS
