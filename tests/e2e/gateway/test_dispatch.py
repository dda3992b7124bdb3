"""Requests that are lost between their claim and their first step."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from tests.e2e.gateway.conftest import configuration

from meritorder.gateway import config_file
from meritorder.gateway.app import server
from meritorder.gateway.app.service import Service
from meritorder.gateway.store.queue import requests
from meritorder.gateway.store.queue.backlog import QueuedRequests
from meritorder.gateway.store.queue.requests import ClaimedRequest, RequestAnswer
from meritorder.gateway.venues.venues import RunningRequest, Venue

CALLS = 6


def queue(service: Service) -> list[int]:
    """Queue calls, and return their sequence numbers."""
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
@pytest.mark.parametrize("how", ["preempted", "failed"])
async def test_unstarted_requests_run_again(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    service = server.build_service(config_file.read(configuration(tmp_path, engine)))
    venue, dispatcher, interrupted = service.venues.all[0], service.dispatcher, set[int]()
    begin, send = dispatcher._begin, dispatcher._attempts.send

    def begin_and_preempt(request: ClaimedRequest, at: Venue, **more: Any) -> None:  # noqa: ANN401
        begin(request, at, **more)
        if how == "preempted" and request.seq not in interrupted:
            interrupted.add(request.seq)
            at.preempt(1)

    async def fail_once(request: ClaimedRequest, at: Venue, running: RunningRequest) -> RequestAnswer:
        if how == "failed" and request.seq not in interrupted:
            interrupted.add(request.seq)
            raise RuntimeError("a bug")
        return await send(request, at, running)

    monkeypatch.setattr(dispatcher, "_begin", begin_and_preempt)
    monkeypatch.setattr(dispatcher._attempts, "send", fail_once)
    await service.start()
    try:
        pending = [dispatcher.wait_for(seq) for seq in queue(service)]
        dispatcher.wake()
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*pending)
    finally:
        await service.stop()
    assert [answer.status_code for answer in answers] == [200] * CALLS
    assert len(interrupted) == CALLS
    assert venue.deferrable == []
    assert dispatcher.tracked() == set()


@pytest.mark.asyncio
async def test_unconfirmed_claim_is_requeued(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database commits the claim, and fails before it confirms."""
    service = server.build_service(config_file.read(configuration(tmp_path, engine)))
    claim, unconfirmed = requests.claim, set[int]()

    def claim_and_fail(
        connection: Connection, me: str, work: QueuedRequests, *, limit: int, now_s: float
    ) -> list[ClaimedRequest]:
        claimed = claim(connection, me, work, limit=limit, now_s=now_s)
        confirmed = [request for request in claimed if request.seq in unconfirmed]
        unconfirmed.update(request.seq for request in claimed)
        return confirmed

    monkeypatch.setattr(requests, "claim", claim_and_fail)
    await service.start()
    try:
        pending = [service.dispatcher.wait_for(seq) for seq in queue(service)]
        service.dispatcher.wake()
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*pending)
    finally:
        await service.stop()
    assert [answer.status_code for answer in answers] == [200] * CALLS
    assert len(unconfirmed) == CALLS
