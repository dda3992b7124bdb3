"""The traffic of a short day: reports at night, which can wait, and chats by day, which cannot."""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec
import numpy as np

from meritorder.errors import MeritorderError
from meritorder.gateway.venues.llamacpp import MODEL

CHAT: Final = "chat"
REPORTS: Final = "reports"
WORKLOADS: Final = (CHAT, REPORTS)
SLOT_S: Final = 60.0
"""Half of the day, and the shortest slot of a plan."""
_NIGHT_S: Final = 2 * SLOT_S  # and the working day after it

_CHATS: Final = (14, 40)
_REPORTS_PER_CHAT: Final = 0.4
_CHAT_SHARE: Final = 0.25  # of a slot, in which chats keep the engine busy
_TOKENS: Final = (8, 48)
_PROBE_TOKENS: Final = 16
_PROMPT_WORDS: Final = (5, 15)
_TPOT_S: Final = 0.5
# In slots from the start of the day. Chats begin late enough for the engine to start within their slot.
_REPORTS_END: Final = 0.5
_CHATS_START: Final = 1.3
_MARGIN: Final = 0.05
_FIRST_S: Final = 0.2
_SEED: Final = 7
TIMEOUT_S: Final = 300.0
_WORDS: Final = ("river", "stone", "light", "paper", "window", "garden", "winter", "engine", "copper", "market")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request: when it is sent, to which workload it belongs, and the words and tokens of question and answer."""

    at_s: float
    workload: str
    words: int
    tokens: int


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """A day of two slots: a night in which reports alone arrive, and a working day of chats; or several in turn.

    Args:
        chats: How many there are in a working day.
        tokens: Mean length of an answer.
        request_s: Time that the engine takes for a request, among others.
        nights: How often both slots come.
    """

    chats: int
    tokens: int
    request_s: float
    nights: int = 1

    @property
    def tpot_s(self) -> float:
        """Time per output token that is promised in real time: half a second, more on a machine that is slow."""
        return max(_TPOT_S, _TPOT_S * math.ceil(self.request_s / _TPOT_S))

    @property
    def ttft_s(self) -> float:
        """Time to the first token that is promised."""
        return 4 * self.tpot_s

    @property
    def span_s(self) -> float:
        """Length of all of it."""
        return self.nights * _NIGHT_S

    @property
    def deadline_s(self) -> float:
        """Patience of a report: long enough that an engine of unknown speed need not start before its slot."""
        return 6 * SLOT_S

    @property
    def margin_s(self) -> float:
        """Reports run this long before they would be late, whatever the plan says."""
        return _MARGIN * SLOT_S

    def requests(self) -> list[Request]:
        """Return the requests, in the order in which they are sent; the same for the same day."""
        draw = np.random.default_rng(_SEED)
        times: list[tuple[float, str]] = []
        for begins_s in np.arange(self.nights) * _NIGHT_S:
            # The first request begins the first slot of the plan.
            night = _spread(draw, round(_REPORTS_PER_CHAT * self.chats), _FIRST_S, _REPORTS_END * SLOT_S)
            # The last chat is answered just before the day ends.
            chats_end_s = _NIGHT_S - max(_MARGIN * SLOT_S, 2 * self.request_s)
            working = _spread(draw, self.chats, _CHATS_START * SLOT_S, chats_end_s)
            times += [(begins_s + at_s, REPORTS) for at_s in night] + [(begins_s + at_s, CHAT) for at_s in working]
        return [
            Request(
                at_s=at_s,
                workload=workload,
                words=int(draw.integers(*_PROMPT_WORDS)),
                tokens=max(2, round(self.tokens * draw.uniform(0.5, 1.5))),
            )
            for at_s, workload in times
        ]


def _spread(draw: np.random.Generator, count: int, from_s: float, to_s: float) -> list[float]:
    """Return times from the start of an interval on, one drawn in each of as many equal parts of it."""
    parts = np.arange(count) + draw.uniform(0, 1, count)
    return list(from_s + (parts - parts[0]) * (to_s - from_s) / count)


async def fitting_day(url: str, key: str) -> Day:
    """Start the engine, measure how fast it is beside all else on this machine, and return a day that it can serve."""
    probe = Request(at_s=0.0, workload=CHAT, words=sum(_PROMPT_WORDS) // 2, tokens=_PROBE_TOKENS)
    async with _session(key) as session:
        await _ask(session, url, probe, stream=False)
        started_s = time.monotonic()
        for together in (1, 2, 4):
            await asyncio.gather(*(_ask(session, url, probe, stream=False) for _ in range(together)))
        request_s = (time.monotonic() - started_s) / 7
    return sized_day(request_s)


def sized_day(request_s: float) -> Day:
    """Return the day for an engine that takes so long for a request of the probe's length, among others."""
    chats = int(np.clip(_CHAT_SHARE * SLOT_S / request_s, *_CHATS))
    tokens = int(np.clip(_PROBE_TOKENS * _CHAT_SHARE * SLOT_S / request_s / chats, *_TOKENS))
    return Day(chats=chats, tokens=tokens, request_s=request_s)


async def send(url: str, keys: Mapping[str, str], requests: Sequence[Request], started_s: float) -> None:
    """Send each request at its time after the start of the day, epoch seconds, and wait for the answers."""
    async with _session(keys[CHAT]) as chat, _session(keys[REPORTS]) as reports:
        sessions = {CHAT: chat, REPORTS: reports}

        async def at_its_time(request: Request) -> None:
            await asyncio.sleep(started_s + request.at_s - time.time())
            await _ask(sessions[request.workload], url, request, stream=True)

        try:
            async with asyncio.TaskGroup() as group:
                for request in requests:
                    group.create_task(at_its_time(request))
        except* (MeritorderError, aiohttp.ClientError) as errors:
            raise MeritorderError(f"a request failed: {errors.exceptions[0]}") from None


def _session(key: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"},
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=0),
    )


async def _ask(session: aiohttp.ClientSession, url: str, request: Request, *, stream: bool) -> None:
    body = chat(request) | {"stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
        text = await answer.text()
        if answer.status != 200:
            raise MeritorderError(f"the gateway answered {answer.status}: {text[:200]}")


def chat(request: Request) -> dict[str, Any]:
    """Return the body of a request: its question is the same each time."""
    words = np.random.default_rng(round(request.at_s * 1000)).choice(_WORDS, request.words)
    messages = [{"role": "user", "content": " ".join(words)}]
    return {"model": MODEL, "messages": messages, "max_tokens": request.tokens, "ignore_eos": True}
