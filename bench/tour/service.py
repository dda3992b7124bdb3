"""The commands of the tour, and the gateway that serves its traffic."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meritorder.errors import MeritorderError
from meritorder.gateway.config import VenueKind
from meritorder.gateway.venues import parent_watchdog
from meritorder.gateway.venues.llamacpp import MAX_SEQUENCES, MODEL, local_engine

ROOT: Final = Path(__file__).parents[2]
CATALOG: Final = Path(__file__).with_name("catalog.toml")
SCHEDULE: Final = "schedule.json"
USD_PER_HOUR: Final = 2.0
ENGINES: Final = ("local", "modelled")
LOG: Final = "tour.log"
_URL: Final = re.compile(r"http://\S+")
_GRACE_S: Final = "10"
_MODELLED: Final = (sys.executable, "-m", "tests.peers.batching", "--port", "{port}", "--token-s", "0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Runs commands of Meritorder in a folder, as a person would.

    Args:
        folder: The folder; what commands say besides their answer is in its `tour.log`.
    """

    folder: Path

    def run(self, *arguments: str) -> str:
        """Show a command, run it, and return what it wrote to its standard output.

        Raises:
            MeritorderError: It failed; the message is its own.
        """
        print(f"  $ meritorder {' '.join(arguments)}", flush=True)
        done = subprocess.run(_command(arguments), cwd=self.folder, capture_output=True, text=True, check=False)
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(done.stdout + done.stderr)
        if done.returncode:
            raise MeritorderError(done.stderr.strip().rpartition("\n")[2].removeprefix("meritorder: "))
        return done.stdout

    def write_gateway(self, name: str, engine: str, *, lanes: str = "", pools: Sequence[str] = ()) -> None:
        """Write the configuration of a gateway with one engine.

        Args:
            name: Name of the file.
            engine: One of `ENGINES`.
            lanes: The table of that name.
            pools: Pools of the plan that the engine serves; none without a plan.
        """
        argv = local_engine().argv if engine == "local" else _MODELLED
        planned = f"pool = {json.dumps(list(pools))}\n" if pools else ""
        (self.folder / name).write_text(
            f'[server]\nport = 0\n[store]\nurl = "sqlite:///{self.folder}/gateway.db"\n'
            f"{lanes}"
            f'[[venue]]\nname = "local"\nkind = "{VenueKind.LLAMA_CPP}"\nurl = "http://127.0.0.1:{{port}}/v1"\n'
            f'models = ["{MODEL}"]\n{planned}'
            f'max_concurrency = {MAX_SEQUENCES}\nusd_per_hour = {USD_PER_HOUR}\nidle = ""\nstart = "1m"\n'
            f"command = {json.dumps(list(argv))}\n",
            encoding="utf-8",
        )

    @contextmanager
    def server(self, *arguments: str, key: str = "") -> Iterator[str]:
        """Run a command that serves, with an API key in its environment, yield its URL, and stop it in the end."""
        print(f"  $ meritorder {' '.join(arguments)}", flush=True)
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, parent_watchdog.__file__, _GRACE_S, *_command(arguments)],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": path, "OPENAI_API_KEY": key},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        try:
            url = _URL.search(process.stdout.readline() if process.stdout else "")
            if url is None:
                raise MeritorderError(f"meritorder {arguments[0]} did not start; {self.folder / LOG} says why")
            yield url.group()
        finally:
            process.communicate()  # closes its standard input, upon which it ends


def _command(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "meritorder", *arguments]
