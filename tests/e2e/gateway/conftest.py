"""A gateway process with a real database, and an engine that is another process."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from openai import OpenAI
from tests.samples.stores import migrated_url
from typer.testing import CliRunner

from meritorder import cli

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Process:
    process: subprocess.Popen[str]
    url: str

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}


def start(arguments: list[str], log: Path) -> Process:
    """Start a process that prints its URL to standard output."""
    with log.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdout is not None
    said = process.stdout.readline().strip()
    assert said, log.read_text()
    return Process(process, said.rpartition(" ")[2] if "http" in said else f"http://127.0.0.1:{said}")


def configuration(folder: Path, engine: str, more: str = "") -> Path:
    path = folder / "gateway.toml"
    path.write_text(
        f'[server]\nport = 0\n[store]\nurl = "{migrated_url(folder)}"\nlease = "3s"\n{more}\n'
        f'[[venue]]\nname = "stub"\nurl = "{engine}"\nkind = "vllm"\nmodels = ["stub", "other"]\nmax_concurrency = 8\n'
        "[venue.price]\ninput_usd_per_mtok = 1.0\noutput_usd_per_mtok = 4.0\n",
        encoding="utf-8",
    )
    return path


def new_key(config: Path, *options: str) -> str:
    """Return the secret of a new key; the command runs in this process."""
    done = CliRunner().invoke(cli.app, ["keys", "create", "test", "--config", str(config), *options])
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("engine") / "log"
    there = start(["-m", "tests.peers.engine", "--max-sequences", "8", "--token-s", "0.005"], log)
    yield there.url
    there.stop()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="session")
def config(folder: Path, engine: str) -> Path:
    return configuration(folder, engine)


@pytest.fixture(scope="session")
def gateway(config: Path, folder: Path) -> Iterator[str]:
    there = start(["-m", "meritorder", "serve", "--config", str(config)], folder / "log")
    yield there.url
    there.stop()


@pytest.fixture(scope="session")
def client(gateway: str, config: Path) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway}/v1", api_key=new_key(config), max_retries=0) as made:
        yield made


@pytest.fixture(scope="session")
def make_client(gateway: str, config: Path) -> Iterator[Callable[..., OpenAI]]:
    made: list[OpenAI] = []

    def make(*options: str) -> OpenAI:
        made.append(OpenAI(base_url=f"{gateway}/v1", api_key=new_key(config, *options), max_retries=0))
        return made[-1]

    yield make
    for client in made:
        client.close()
