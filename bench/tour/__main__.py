"""Take the tour: `python -m bench.tour`."""

import argparse
import asyncio
import math
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from bench.tour import story
from bench.tour.outcome import Outcome
from bench.tour.service import CATALOG, ENGINES, LOG, ROOT, SCHEDULE, Commands
from bench.tour.traffic import REPORTS, SLOT_S, WORKLOADS, Day, fitting_day, send
from meritorder import documents
from meritorder.errors import MeritorderError
from meritorder.gateway.venues.llamacpp import MAX_SEQUENCES, MODEL
from meritorder.records import planfile
from meritorder.report import files
from meritorder.units import utc

_MACHINE: Final = "this-machine"
_ATTAINMENT: Final = 0.95
_STEP_TOKENS: Final = 64  # of the local engine
_SETTLE_S: Final = 1.0  # until the ledger has all rows
_ADMIN: Final = "me"


class Progress(msgspec.Struct, kw_only=True):
    """How far a tour has come; `tour.json`.

    Args:
        engine: One of `ENGINES`.
        day: The day that is served twice.
        keys: API keys by name.
        realtime_s: When the day in real time began, epoch seconds.
        planned_s: When the day as planned began; None until it is over.
    """

    engine: str
    day: Day
    keys: dict[str, str]
    realtime_s: int
    planned_s: int | None = None


class Tour:
    """A tour in a folder, which goes on where it was interrupted.

    Args:
        folder: The folder.
        engine: One of `ENGINES`.
        nights: How often the night and the working day come.
    """

    def __init__(self, folder: Path, engine: str, nights: int = 1) -> None:
        self._folder = folder
        self._engine = engine
        self._nights = nights
        self._commands = Commands(folder=folder)
        self._file = folder / "tour.json"

    def take(self) -> Progress:
        """Take all steps that were not taken before, and return how it went."""
        progress = self._serve_realtime()
        self._account("realtime", progress.realtime_s, progress.day)
        try:
            self._calibrate()
            self._plan(progress)
        except MeritorderError:
            self._file.unlink()  # the next tour measures again
            raise
        self._serve_planned(progress)
        self._account("planned", progress.planned_s or 0, progress.day)
        return progress

    def outcome(self, progress: Progress) -> Outcome:
        """Return what came of a tour that is over."""
        return Outcome.read(self._folder, progress.day, progress.realtime_s, progress.planned_s or 0)

    def stay(self, port: int) -> None:
        """Run the web application until it is interrupted."""
        progress = self._read()
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                fix = f".venv/bin/python -m bench.tour --port {port + 1}"
                raise MeritorderError(f"port {port} is in use; for another: {fix}") from None
        run, key = self._commands.server, progress.keys[_ADMIN]
        pages = ("--config", "gateway.toml", "--plan", "plan.json", "--port", str(port))
        with run("serve", "--config", "gateway.toml") as url, run("ui", "--gateway", url, *pages, key=key) as pages_url:
            print(story.invitation(pages_url), flush=True)
            while True:
                time.sleep(60)

    def _read(self) -> Progress:
        try:
            progress = msgspec.json.decode(self._file.read_bytes(), type=Progress)
        except msgspec.DecodeError as error:
            raise MeritorderError(f"{self._file}: {error}; delete {self._folder} to begin anew") from None
        if progress.engine != self._engine:
            raise MeritorderError(f"{self._folder} has a tour of the {progress.engine} engine; delete it to begin anew")
        return progress

    def _write(self, progress: Progress) -> None:
        files.write_bytes(self._file, msgspec.json.format(msgspec.json.encode(progress)))

    def _missing(self, title: str, file: str) -> bool:
        """Show the title of a step, and return whether it was not taken before."""
        print(f"\n{title}", flush=True)
        missing = not (self._folder / file).exists()
        if not missing:
            print("  This was done before.")
        return missing

    def _serve_realtime(self) -> Progress:
        if not self._missing(story.REALTIME, "tour.json"):
            return self._read()
        self._begin_anew()
        self._commands.write_gateway("gateway.toml", self._engine)
        keys = {name: self._create_key(name) for name in (*WORKLOADS, _ADMIN)}
        with self._commands.server("serve", "--config", "gateway.toml") as url:
            print("  starting the engine, and measuring how much it can do beside all else on this machine", flush=True)
            fitting = asyncio.run(fitting_day(url, keys[REPORTS]))
            day = msgspec.structs.replace(fitting, nights=self._nights)
            started_s = math.ceil(time.time())
            self._send(url, keys, day, started_s)
        progress = Progress(engine=self._engine, day=day, keys=keys, realtime_s=started_s)
        self._write(progress)
        return progress

    def _begin_anew(self) -> None:
        """Empty the folder, which is a new one or that of a tour."""
        if self._folder.exists() and any(self._folder.iterdir()) and not (self._folder / LOG).exists():
            raise MeritorderError(f"{self._folder} has other files; name a new folder")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        (self._folder / LOG).touch()
        shutil.copy(CATALOG, self._folder)

    def _create_key(self, name: str) -> str:
        kind = ("--admin",) if name == _ADMIN else ("--tenant", name)
        return self._commands.run("keys", "create", name, *kind, "--config", "gateway.toml").strip()

    def _send(self, url: str, keys: dict[str, str], day: Day, started_s: float) -> None:
        requests = day.requests()
        print(f"  sending {len(requests)} requests in {day.span_s:g} s", flush=True)
        asyncio.run(send(url, keys, requests, started_s))
        time.sleep(max(0.0, started_s + day.span_s - time.time()) + _SETTLE_S)

    def _account(self, name: str, from_s: int, day: Day) -> None:
        if not self._missing(story.LEDGER, f"{name}.json"):
            return
        outputs = [f"--{kind}={name}.{kind}" for kind in ("json", "html")]
        saving = ["--counterfactual", "--profile", "profile.toml", "--catalog", CATALOG.name, "--slo", _slo(day)]
        compared = saving if name == "planned" else []
        self._commands.run(
            "ledger", "--config", "gateway.toml", *_window(from_s, day), *compared, "--out", f"{name}.csv", *outputs
        )

    def _calibrate(self) -> None:
        if not self._missing(story.CALIBRATION, "profile.toml"):
            return
        self._commands.run(
            *("calibrate", "realtime.csv", "--model", MODEL, "--hardware", _MACHINE, "--tp", "1"),
            *("--max-num-seqs", str(MAX_SEQUENCES), "--max-num-batched-tokens", str(_STEP_TOKENS)),
            *("--catalog", CATALOG.name),
        )

    def _plan(self, progress: Progress) -> None:
        if not self._missing(story.PLAN, "plan.json"):
            return
        day = progress.day
        (self._folder / "workloads.toml").write_text(
            f'[[workload]]\nname = "{REPORTS}"\nlane = "deferrable"\nmatch = {{ tenant = "{REPORTS}" }}\n'
            f'deadline = "{day.deadline_s:g}s"\n',
            encoding="utf-8",
        )
        capacity = pl.read_csv(self._folder / "realtime.capacity.csv")
        startup_s = math.ceil(capacity.select((pl.col("ready_s") - pl.col("started_s")).max()).item())
        self._commands.run(
            *("plan", "realtime.csv", *_window(progress.realtime_s, day), "--workloads", "workloads.toml"),
            *("--model", MODEL, "--hardware", _MACHINE, "--provider", "local", "--profile", "profile.toml"),
            *("--catalog", CATALOG.name, "--slo", _slo(day)),
            *("--slot", f"{SLOT_S:g}s", "--startup", f"{startup_s}s"),
            *("--commit", "none", "--hindsight", "--json=plan.json", "--html=plan.html"),
        )

    def _write_schedule(self, plan: planfile.Plan, start_s: float) -> None:
        """Write what the gateway executes; it rereads the file when it changes.

        A plan has a policy for days that nobody has seen. This day was seen: its schedule is executed, in which reports
        fill whatever chats leave free.
        """
        pools = [
            msgspec.structs.replace(pool, backfill_seats=pool.max_num_seqs, backfill_tokens=pool.max_num_batched_tokens)
            for pool in plan.pools
        ]
        schedule = msgspec.structs.replace(plan, policy=None, pools=pools, start_epoch_s=float(start_s))
        files.write_bytes(self._folder / SCHEDULE, documents.encode(schedule))

    def _serve_planned(self, progress: Progress) -> None:
        print(f"\n{story.PLANNED}", flush=True)
        if progress.planned_s is not None:
            print("  This was done before.")
            return
        plan = planfile.read_plan(self._folder / "plan.json")
        day = progress.day
        lanes = f'[lanes]\nttft = "{day.ttft_s:g}s"\ntpot = "{day.tpot_s:g}s"\nattainment = {_ATTAINMENT}\n'
        lanes += f'margin = "{day.margin_s:g}s"\n'
        self._commands.write_gateway(
            "planned.toml", progress.engine, lanes=lanes, pools=[pool.name for pool in plan.pools]
        )
        self._write_schedule(plan, time.time())
        with self._commands.server("serve", "--config", "planned.toml", "--plan", SCHEDULE) as url:
            started_s = math.ceil(time.time())
            time.sleep(started_s - time.time())
            self._write_schedule(plan, started_s)
            self._send(url, progress.keys, day, started_s)
        progress.planned_s = started_s
        self._write(progress)


def _slo(day: Day) -> str:
    return f"ttft={day.ttft_s:g}s,tpot={day.tpot_s:g}s,attainment={_ATTAINMENT:.0%}"


def _window(from_s: int, day: Day) -> tuple[str, ...]:
    first, last = (f"{utc(epoch_s):%Y-%m-%dT%H:%M:%SZ}" for epoch_s in (from_s, from_s + round(day.span_s)))
    return "--from", first, "--to", last


def main(arguments: Sequence[str]) -> None:
    """Take the tour, and stay for the web application."""
    parser = argparse.ArgumentParser(prog="python -m bench.tour", description=main.__doc__)
    parser.add_argument(
        "--engine", choices=ENGINES, default=ENGINES[0], help="modelled: one that sleeps instead of computing"
    )
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "tour", help="where its files are; delete it to begin anew"
    )
    parser.add_argument("--port", type=int, default=8090, help="of the web application; 0 runs none")
    options = parser.parse_args(arguments)
    tour = Tour(options.folder.resolve(), options.engine)
    print(story.INTRODUCTION, flush=True)
    progress = tour.take()
    print(story.conclusion(tour.outcome(progress)))
    if options.port:
        tour.stay(options.port)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        main(sys.argv[1:])
    except MeritorderError as error:
        sys.exit(f"tour: {error}")
    except KeyboardInterrupt:
        sys.exit("\ntour: stopped; `make tour` goes on from here")
