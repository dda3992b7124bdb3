"""A gateway of two processes on one socket: kills, limits, metrics, drains, restarts."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import OpenAI
from tests.e2e.gateway.conftest import Process, configuration, new_key, start
from tests.e2e.gateway.test_batches import create, ended, line, results, upload
from tests.e2e.gateway.test_quotas import CALL_USD, call_all, done_lines, until

from meritorder.errors import ConfigError
from meritorder.gateway import config_file
from meritorder.gateway.app import server

COUNT = 2


class Site:
    """A gateway of several workers, and a key of its operator."""

    def __init__(self, config: Path, gateway: Process) -> None:
        self.config, self.gateway, self.url = config, gateway, gateway.url
        self.admin = {"Authorization": f"Bearer {new_key(config, '--admin')}"}

    def workers(self) -> list[int]:
        """Return the processes that listen, the oldest first."""
        children = Path(f"/proc/{self.gateway.process.pid}/task/{self.gateway.process.pid}/children").read_text()
        return [int(pid) for pid in children.split() if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def scrape(self) -> tuple[float, float]:
        """Return requests by counter and by histogram, from one scrape."""
        rows = httpx.get(f"{self.url}/metrics", headers=self.admin).raise_for_status().text.splitlines()
        names = ("meritorder_requests_total{", "meritorder_request_seconds_count{")
        counted, timed = (sum(float(row.split()[-1]) for row in rows if row.startswith(name)) for name in names)
        return counted, timed

    def status(self) -> dict[str, object]:
        """Return the state of the venue, as any of the workers knows it."""
        return httpx.get(f"{self.url}/meritorder/status", headers=self.admin).json()["venues"][0]


@pytest.fixture(scope="module")
def site(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("workers")
    config = configuration(folder, engine)
    arguments = ["-m", "meritorder", "serve", "--config", str(config), "--workers", str(COUNT)]
    gateway = start(arguments, folder / "log")
    yield Site(config, gateway)
    gateway.stop()
    assert gateway.process.returncode in {0, -signal.SIGKILL}
    assert "Traceback" not in (folder / "log").read_text()


def test_one_scrape_counts_all_workers(site: Site) -> None:
    key = new_key(site.config)
    outcomes = asyncio.run(call_all([site.url], key, 40))
    assert outcomes == ["ok"] * 40
    until(lambda: site.scrape() == (40, 40))
    assert site.status()["seats"] == 8


def test_budget_and_rate_hold_over_workers(site: Site) -> None:
    key = new_key(site.config, "--budget", f"{10 * CALL_USD}")
    outcomes = asyncio.run(call_all([site.url], key, 40))
    assert (outcomes.count("ok"), outcomes.count("insufficient_quota")) == (10, 30), outcomes
    limited = new_key(site.config, "--requests-per-minute", "5")
    outcomes = asyncio.run(call_all([site.url], limited, 40))
    assert (outcomes.count("ok"), outcomes.count("rate_limit_exceeded")) == (5, 35)


def test_killed_worker_loses_no_line(site: Site) -> None:
    with OpenAI(base_url=f"{site.url}/v1", api_key=new_key(site.config), max_retries=10) as client:
        counted, _ = site.scrape()
        batch = create(client, upload(client, [line(at, max_tokens=60) for at in range(48)]))
        until(lambda: done_lines(client, batch) > 4)
        victim = site.workers()[0]
        os.kill(victim, signal.SIGKILL)
        done = ended(client, batch)
        assert (done.status, done.request_counts and done.request_counts.completed) == ("completed", 48)
        assert len(results(client, done.output_file_id)) == 48
        until(lambda: len(site.workers()) == COUNT and victim not in site.workers())
        # A worker counts on from what the one before it has reported, a second before it died at most.
        until(lambda: site.scrape()[0] >= counted + 24)


def test_drain_reaches_all_workers(site: Site) -> None:
    url = f"{site.url}/v1/venues/stub/drain"

    def states() -> set[object]:
        return {site.status()["draining"] for _ in range(8)}

    httpx.post(url, headers=site.admin, json={"notice_s": 60}).raise_for_status()
    until(lambda: states() == {True})
    httpx.delete(url, headers=site.admin).raise_for_status()
    until(lambda: states() == {False})


@pytest.mark.slow
def test_hangup_replaces_workers_without_loss(site: Site) -> None:
    before, key = set(site.workers()), new_key(site.config)
    site.gateway.process.send_signal(signal.SIGHUP)
    outcomes = []
    while before & set(site.workers()):
        outcomes += asyncio.run(call_all([site.url], key, 4))
    assert outcomes
    assert set(outcomes) == {"ok"}


def test_workers_end_with_their_supervisor(site: Site) -> None:
    """The last test: the supervisor is killed, and no other gateway may use the store before its workers are gone."""
    workers, settings = site.workers(), config_file.read(site.config)
    with pytest.raises(ConfigError, match="another gateway uses it"):
        server.lock_database(settings)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    site.gateway.process.kill()
    site.gateway.process.wait()
    with pytest.raises(ConfigError, match="another gateway uses it"):
        server.lock_database(settings)
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    lock = server.lock_database(settings)
    assert lock is not None
    lock.close()
