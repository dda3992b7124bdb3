"""The runs of a job: one at a time, here and over object stores, each with what it has cost."""

from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import from_url

from meritorder.errors import ConfigError
from meritorder.records.job import JobRun

pytest.importorskip("ray", reason="needs the extra `ray`")

from meritorder.jobs import locks
from meritorder.jobs import runs as runs_module
from meritorder.jobs.runs import Runs


def run(cost_usd: float) -> JobRun:
    times = {"started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T00:00:00+00:00", "deadline": None}
    counts = dict.fromkeys(("answered", "failed", "left", "rows", "repeated", "input_tokens", "output_tokens"), 0)
    return JobRun(out="out", why_left="", cost_usd=cost_usd, **times, **counts)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_REGION": "us-east-1"}
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (endpoint | keys).items():
            patch.setenv(name, value)
        pytest.importorskip("boto3").client("s3").create_bucket(Bucket="jobs")
        yield "s3://jobs"
    server.stop()


@pytest.fixture(params=["here", "s3"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "here" else f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def test_every_run_keeps_its_cost(out: str) -> None:
    for cost_usd in (1.0, 2.0):
        runs = Runs(out)
        with runs.alone(), runs.recorded(lambda cost_usd=cost_usd: run(cost_usd)):
            pass
    assert [record.cost_usd for record in Runs(out).read()] == [1.0, 2.0]


def test_running_cost_is_on_record(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "_HEARTBEAT_S", 0.02)
    costs_usd = iter(range(1, 10_000))
    runs = Runs(out)
    with runs.alone(), runs.recorded(lambda: run(float(next(costs_usd)))):
        while Runs(out).read()[0].cost_usd < 3.0:
            runs.check()


def test_second_run_is_refused(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_POLL_S", 0.05)
    first = Runs(out)
    # The first run renews its lock while the second looks at it.
    monkeypatch.setattr(locks.time, "sleep", lambda _: first._lock.renew())
    with first.alone(), pytest.raises(ConfigError, match="another run answers into this folder"), Runs(out).alone():
        pass
    with Runs(out).alone():
        pass


def test_lock_of_dead_run_is_taken(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_STALE_S", 0.2)
    monkeypatch.setattr(locks, "_POLL_S", 0.05)
    dead, heir = (locks.ObjectLock(f"{bucket}/dead", "lock") for _ in range(2))
    assert dead.acquire()
    assert heir.acquire()
    with pytest.raises(ConfigError, match="another run has taken over"):
        dead.renew()
    dead.release()
    heir.renew()
    heir.release()
    assert not list(obstore.list(from_url(bucket, client_options={"allow_http": True}), prefix="dead"))
