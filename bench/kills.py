"""SIGKILL of gateways, engine and PostgreSQL at random times, and its hangs: what was acknowledged, and is gone."""

import contextlib
import json
import math
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import openai
from openai import OpenAI
from tests.peers import postgres
from tests.samples.stores import fresh_url

from bench._acknowledged import ENDPOINT, Client, Operations, RealTime, Stored, ended, line, results
from bench._gateway import Engine, Gateway
from bench._network import FAULTS, Network
from meritorder.gateway.store.billing import ledger
from meritorder.gateway.store.database import Database
from meritorder.gateway.venues.ports import ReservedPort
from meritorder.metering import words

KILLS: Final = 200
LINES: Final = 5000
_GATEWAYS: Final = {"sqlite": 1, "postgresql": 2}
_FAULTS: Final = {
    "sqlite": ("gateway", "gateway", "gateway", "engine"),
    "postgresql": ("gateway", "gateway", "gateway", "gateway", "gateway", "engine", "database", "hang"),
}
_MAX_SEQUENCES: Final = 8
_TOKEN_S: Final = 0.05
_TOKENS: Final = 4
_WINDOW: Final = "2h"
_MAX_UPTIME_S: Final = 1.2
_MAX_HANG_S: Final = 3.0
_MAX_FAULT_S: Final = 6.0  # of the network: three times a lease
_SOCKET: Final = ".s.PGSQL.5432"
_WAIT_S: Final = 0.05  # until a worker is replaced
_TIMEOUT_S: Final = 3600.0


def run(kills: int = KILLS, lines: int = LINES, stores: tuple[str, ...] = ("sqlite", "postgresql")) -> dict[str, Any]:
    """Run the clients on each store while its processes are killed."""
    return {store: survive(store, kills, lines, gateways=_GATEWAYS[store], faults=_FAULTS[store]) for store in stores}


class _Site:
    """Gateways that share a store, and an engine; each is killed and restarted at the same address.

    With a network, clients reach each gateway, and it its database, by a link of its own.
    """

    def __init__(
        self,
        folder: Path,
        store: str,
        gateways: int,
        server: postgres.Server | None,
        *,
        workers: int,
        network: Network | None = None,
    ) -> None:
        self._folder, self._server, self._workers, self._network = folder, server, workers, network
        self._engine_port = ReservedPort()
        self._ports = [ReservedPort() for _ in range(gateways)]
        ports = [port.number for port in self._ports]
        self._stores = [store] * gateways
        self._links = []
        if network is not None:
            socket_path = Path(parse_qs(urlsplit(store).query)["host"][0], _SOCKET)
            to_gateways, to_store = (
                [network.link(to) for to in targets] for targets in (ports, [socket_path] * gateways)
            )
            self._links = [*to_gateways, *to_store]
            ports = [link.port for link in to_gateways]
            self._stores = [f"postgresql://postgres@127.0.0.1:{link.port}/postgres" for link in to_store]
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        self._engine = self._new_engine()
        self._gateways = [self._new_gateway(number) for number in range(gateways)]

    def _new_engine(self) -> Engine:
        return Engine(self._folder, max_sequences=_MAX_SEQUENCES, token_s=_TOKEN_S, port=self._engine_port.number)

    def _new_gateway(self, number: int) -> Gateway:
        folder = self._folder / str(number)
        folder.mkdir(exist_ok=True)
        url = f"http://127.0.0.1:{self._engine_port.number}"
        return Gateway(
            folder,
            url,
            store=self._stores[number],
            port=self._ports[number].number,
            max_sequences=_MAX_SEQUENCES,
            blobs=f"file://{self._folder}/blobs",
            workers=self._workers,
        )

    def fail(self, fault: str, draw: random.Random) -> None:
        """Kill a process, which is started again, or let the database hang for a while."""
        if fault == "gateway":
            number = draw.randrange(len(self._gateways))
            self._gateways[number].kill()
            self._gateways[number] = self._new_gateway(number)
        elif fault == "worker":
            gateway = draw.choice(self._gateways)
            while not (pids := gateway.worker_pids()):
                time.sleep(_WAIT_S)
            os.kill(draw.choice(pids), signal.SIGKILL)
        elif self._network is not None and fault in FAULTS:
            self._network.fail(draw.choice(self._links), fault, draw.uniform(0.0, _MAX_FAULT_S))
        elif fault == "engine":
            self._engine.kill()
            self._engine = self._new_engine()
        elif self._server is not None and fault == "database":
            self._server.kill()
            self._server.start()
        elif self._server is not None:
            self._server.freeze()
            time.sleep(draw.uniform(0.0, _MAX_HANG_S))
            self._server.thaw()

    def stop(self) -> None:
        """Stop all processes but the database."""
        for process in (*self._gateways, self._engine):
            process.stop()
        for port in (*self._ports, self._engine_port):
            port.release()


@contextmanager
def _site(store: str, gateways: int, workers: int, *, fails: bool) -> Iterator[tuple[_Site, str]]:
    """Run a site, whose network fails or not; return it and the URL of its store."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(postgres.server()) if store == "postgresql" else None
        url = server.url if server else stack.enter_context(fresh_url(store, folder, "kills"))
        network = stack.enter_context(Network()) if fails else None
        site = _Site(folder, url, gateways, server, workers=workers, network=network)
        stack.callback(site.stop)
        yield site, url


def survive(
    store: str,
    kills: int,
    lines: int,
    *,
    gateways: int,
    faults: Sequence[str],
    workers: int = 1,
    within_s: float = math.inf,
) -> dict[str, Any]:
    """Run the clients on gateways that share a store, with faults in turn at random times; return what came of it.

    Faults end after `within_s` at the latest: a busy machine takes half a minute to start a gateway.
    """
    last_s = time.monotonic() + within_s
    draw = random.Random(0)  # noqa: S311 - when to kill
    with _site(store, gateways, workers, fails=not set(FAULTS).isdisjoint(faults)) as (site, url):
        client = OpenAI(base_url=f"{site.urls[0]}/v1", api_key="none", max_retries=20, timeout=60)
        batch_id = _create(client, lines)
        real_time, stored = RealTime(site.urls, 1), [Stored(site.urls, seed) for seed in (2, 3)]
        operations = Operations(site.urls, 4)
        clients: list[Client] = [real_time, *stored, operations]
        for thread in clients:
            thread.start()
        done: Counter[str] = Counter()
        for number in range(kills):
            time.sleep(draw.uniform(0.05, _MAX_UPTIME_S))
            if time.monotonic() > last_s:
                break
            fault = faults[number % len(faults)]
            site.fail(fault, draw)
            done[fault] += 1
        in_time = client.batches.retrieve(batch_id).status in {"validating", "in_progress"}
        for thread in clients:
            thread.end()
        batches = [ended(client, batch.id, within_s=_TIMEOUT_S) for batch in client.batches.list(limit=100)]
        answered = {batch.id: results(client, batch) for batch in batches}
        figures = {
            "kills": dict(done),
            "batch_lasted_to_the_last_kill": in_time,
            "status": next(batch.status for batch in batches if batch.id == batch_id),
            **_counts(client, batches, answered),
            "completions_stored": sum(len(thread.ids) for thread in stored),
            "not_listed_at_once": sum(thread.outcomes["not listed"] for thread in stored),
            "files_acknowledged": len(operations.files),
            "batches_acknowledged": len(operations.batches),
            "acknowledged_gone": sum(thread.gone() for thread in clients),
            "downloads_damaged": operations.outcomes["damaged"],
            "realtime_answered": real_time.outcomes["answered"],
            "realtime_failed": real_time.outcomes["failed"],
        }
        site.stop()
        return figures | _compare_ledger(url, answered, real_time.request_ids)


def _create(client: OpenAI, lines: int) -> str:
    content = b"".join(line("line", number, _TOKENS) for number in range(lines))
    file = client.files.create(file=("input.jsonl", content), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint=ENDPOINT,
        completion_window=_WINDOW,  # type: ignore[arg-type] # ours may be any duration
    )
    return batch.id


def _counts(client: OpenAI, batches: list[Any], answered: dict[str, list[dict[str, Any]]]) -> dict[str, int]:
    """Return what became of the lines of all batches; each must be in a file, and in one only."""
    figures: Counter[str] = Counter(
        lines=0, results=0, lost=0, doubled=0, inputs_gone=0, failed_lines=0, deadlines_missed=0
    )
    for batch in batches:
        if batch.status == "cancelled" and not batch.request_counts.total:
            figures["cancelled_unread"] += 1
            continue
        try:
            text = client.files.content(batch.input_file_id).text
        except openai.APIError:
            figures["inputs_gone"] += 1
            continue
        wanted = {json.loads(item)["custom_id"] for item in text.splitlines()}
        by_id = Counter(found["custom_id"] for found in answered[batch.id])
        codes = Counter((found["error"] or {}).get("code") for found in answered[batch.id])
        figures["lines"] += len(wanted)
        figures["results"] += len(answered[batch.id])
        figures["lost"] += len(wanted - by_id.keys())
        figures["doubled"] += sum(count - 1 for count in by_id.values())
        figures["cancelled_lines"] += codes["batch_cancelled"]
        figures["deadlines_missed"] += codes["batch_expired"]
        figures["failed_lines"] += sum(
            (found["response"] or {}).get("status_code") != 200
            for found in answered[batch.id]
            if (found["error"] or {}).get("code") not in {"batch_cancelled", "batch_expired"}
        )
    return dict(figures)


def _compare_ledger(url: str, answered: dict[str, list[dict[str, Any]]], real_time: list[str]) -> dict[str, Any]:
    """Compare the ledger with the results of batches, and with the real-time answers that clients have."""
    with contextlib.closing(Database(url)) as database:
        rows = database.read_now(lambda connection: list(ledger.rows(connection)))
        set_aside = database.read_now(ledger.rejected)
    count = Counter(row["request_id"] for row in rows if row["outcome"] not in {words.PREEMPTED, words.RETRIED})
    results_of_batches = {
        found["response"]["request_id"] for lines in answered.values() for found in lines if found["response"]
    }
    deferred = {row["request_id"] for row in rows if row["lane"] == "deferrable" and row["output_tokens"]}
    return {
        "ledger_rows": len(rows),
        "ledger_lacks_results": len(results_of_batches - count.keys()),
        "ledger_exceeds_results": len(deferred - results_of_batches),
        "ledger_lacks_realtime": len(set(real_time) - count.keys()),
        "ledger_doubled": sum(number - 1 for number in count.values()),
        "ledger_set_aside": set_aside,
        "lost_tokens": sum(row["lost_tokens"] for row in rows),
    }


if __name__ == "__main__":
    import sys

    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]), tuple(sys.argv[3:]) or ("sqlite",)), indent=1))
