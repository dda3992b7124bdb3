"""Clients that remember what a gateway acknowledged, and check that none of it is gone."""

import json
import random
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, TypeVar

import openai
from openai import OpenAI
from openai.types import Batch

T = TypeVar("T")

ENDPOINT: Final = "/v1/chat/completions"
_ENDED: Final = ("completed", "failed", "expired", "cancelled")
_PAUSE_S: Final = 0.05
_PATIENCE_S: Final = 120.0
_SMALL_BATCH: Final = 5


def line(name: str, number: int, tokens: int) -> bytes:
    """Return one line of a batch."""
    messages = [{"role": "user", "content": f"{name} {number}"}]
    body = {"model": "stub", "messages": messages, "max_tokens": tokens}
    whole = {"custom_id": f"{name}-{number}", "method": "POST", "url": ENDPOINT, "body": body}
    return json.dumps(whole).encode() + b"\n"


class Client(threading.Thread, ABC):
    """A client that calls until it is ended, at another gateway after each failure.

    Args:
        urls: Addresses of the gateways.
        seed: Seed of its choices.
    """

    def __init__(self, urls: list[str], seed: int = 0) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.outcomes: Counter[str] = Counter()
        self.draw = random.Random(seed)  # noqa: S311 - what to do next
        self._clients = [OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30) for url in urls]
        self._failures = 0

    @property
    def client(self) -> OpenAI:
        """The client of the gateway in use."""
        return self._clients[self._failures % len(self._clients)]

    def run(self) -> None:
        """Call until ended."""
        while not self.ended.wait(_PAUSE_S):
            try:
                self.step()
                self.outcomes["answered"] += 1
            except openai.OpenAIError:
                self._failures += 1
                self.outcomes["failed"] += 1

    @abstractmethod
    def step(self) -> None:
        """Make one call, and remember what was acknowledged."""

    def gone(self) -> int:
        """Return how much of what was acknowledged is gone."""
        return 0

    def end(self) -> None:
        """End the thread."""
        self.ended.set()
        self.join(_PATIENCE_S)

    def until_done(self, call: Callable[[OpenAI], T]) -> T:
        """Repeat a call until a gateway answers it."""
        ends_s = time.perf_counter() + _PATIENCE_S
        while True:
            try:
                return call(self.client)
            except openai.NotFoundError:
                raise
            except openai.OpenAIError:
                self._failures += 1
                if time.perf_counter() > ends_s:
                    raise
                time.sleep(_PAUSE_S)


class RealTime(Client):
    """Real-time calls, every second one streamed; each needs its row in the ledger."""

    def __init__(self, urls: list[str], seed: int) -> None:
        super().__init__(urls, seed)
        self.request_ids: list[str] = []

    def step(self) -> None:
        """Make one call and read it to its end."""
        stream = self.draw.random() < 0.5
        raw = self.client.chat.completions.with_raw_response.create(
            model="stub", messages=[{"role": "user", "content": "now"}], max_tokens=2, stream=stream
        )
        answer = raw.parse()
        if stream:
            list(answer)
        self.request_ids.append(raw.headers["x-request-id"])


class Stored(Client):
    """Completions with `store: true`; each is looked for at once, and again at the end."""

    def __init__(self, urls: list[str], seed: int) -> None:
        super().__init__(urls, seed)
        self._seed = seed
        self._count = 0
        self.ids: list[str] = []

    def step(self) -> None:
        """Store a completion, and find it in the page after the one before."""
        self._count += 1
        stored_id = f"kept-{self._seed}-{self._count}"
        stream = self.draw.random() < 0.5
        answer = self.client.chat.completions.create(
            model="stub",
            messages=[{"role": "user", "content": "keep"}],
            max_tokens=2,
            store=True,
            user=stored_id,
            stream=stream,
        )
        if stream:
            list(answer)
        self.ids.append(stored_id)
        after = self.ids[-2] if len(self.ids) > 1 else openai.omit
        page = self.until_done(lambda client: client.chat.completions.list(after=after, limit=100))
        if stored_id not in {completion.id for completion in page.data}:
            self.outcomes["not listed"] += 1

    def gone(self) -> int:
        """Return how many acknowledged completions cannot be retrieved."""
        return sum(self._is_gone(stored_id) for stored_id in self.ids)

    def _is_gone(self, stored_id: str) -> bool:
        try:
            return self.until_done(lambda client: client.chat.completions.retrieve(stored_id)).id != stored_id
        except openai.NotFoundError:
            return True


class Operations(Client):
    """Uploads, small batches, cancellations and downloads."""

    def __init__(self, urls: list[str], seed: int) -> None:
        super().__init__(urls, seed)
        self._seed = seed
        self._count = 0
        self.files: dict[str, bytes] = {}
        self.batches: list[str] = []

    def step(self) -> None:
        """Upload a file and make a batch of it; cancel some; download a file."""
        self._count += 1
        name = f"small-{self._seed}-{self._count}"
        content = b"".join(line(name, number, 2) for number in range(_SMALL_BATCH))
        file = self.client.files.create(file=("input.jsonl", content), purpose="batch")
        self.files[file.id] = content
        batch = self.client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
        self.batches.append(batch.id)
        if self.draw.random() < 0.3:
            self.client.batches.cancel(batch.id)
        known = self.draw.choice(list(self.files))
        if self.client.files.content(known).content != self.files[known]:
            self.outcomes["damaged"] += 1

    def gone(self) -> int:
        """Return how many acknowledged files and batches are gone or damaged."""
        return sum(self._is_gone(file_id) for file_id in self.files) + sum(map(self._is_lost, self.batches))

    def _is_gone(self, file_id: str) -> bool:
        try:
            return self.until_done(lambda client: client.files.content(file_id)).content != self.files[file_id]
        except openai.OpenAIError:
            return True

    def _is_lost(self, batch_id: str) -> bool:
        try:
            return self.until_done(lambda client: client.batches.retrieve(batch_id)).id != batch_id
        except openai.NotFoundError:
            return True


def ended(client: OpenAI, batch_id: str, *, within_s: float) -> Batch:
    """Wait until a batch has ended.

    Raises:
        RuntimeError: It did not end in time.
    """
    ends_s = time.perf_counter() + within_s
    while time.perf_counter() < ends_s:
        batch = client.batches.retrieve(batch_id)
        if batch.status in _ENDED:
            return batch
        time.sleep(0.5)
    raise RuntimeError(f"the batch {batch_id} is still {batch.status}")


def results(client: OpenAI, batch: Batch) -> list[dict[str, Any]]:
    """Return the lines of both files of a batch."""
    files = [file for file in (batch.output_file_id, batch.error_file_id) if file]
    return [json.loads(text) for file in files for text in client.files.content(file).text.splitlines()]
