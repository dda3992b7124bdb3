"""Tries clients of others on a real gateway with the local engine, and writes what works into the docs.

    python tools/try_clients.py FOLDER [NAME ...] [--out docs/reference/clients.md]

Each client is installed in FOLDER, in an environment of its own, from its registry. A program of `tools/clients` prints
a line for everything that it tries: its name, and whether it worked. What is not reached is not claimed.
"""

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PROGRAMS: Final = ROOT / "tools" / "clients"
ALIAS: Final = "gpt-4o-mini"  # of the same model: some clients know models by name
INSTALL_S: Final = 900
TRY_S: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client to try.

    Args:
        name: Its name in the table.
        program: Its program in `tools/clients`.
        packages: What is installed; the version shown is that of the first.
    """

    name: str
    program: str
    packages: tuple[str, ...]

    @property
    def is_node(self) -> bool:
        """Whether it runs in Node."""
        return self.program.endswith(".mjs")

    @property
    def folder(self) -> str:
        """Its folder."""
        return self.program.replace(".", "-")


CLIENTS: Final = (
    Client(name="openai (Python)", program="openai_python.py", packages=("openai",)),
    Client(name="openai (Node)", program="openai.mjs", packages=("openai",)),
    Client(name="anthropic (Python)", program="anthropic_python.py", packages=("anthropic",)),
    Client(name="anthropic (Node)", program="anthropic.mjs", packages=("@anthropic-ai/sdk",)),
    Client(name="LangChain", program="langchain.py", packages=("langchain-openai", "langchain-anthropic")),
    Client(name="LlamaIndex", program="llama_index.py", packages=("llama-index-llms-openai-like",)),
    Client(name="Pydantic AI", program="pydantic_ai.py", packages=("pydantic-ai-slim[openai,anthropic]",)),
    Client(name="Instructor", program="instructor.py", packages=("instructor",)),
    Client(
        name="Vercel AI SDK", program="vercel_ai.mjs", packages=("ai", "@ai-sdk/openai-compatible", "@ai-sdk/openai")
    ),
    Client(name="LiteLLM", program="litellm.py", packages=("litellm",)),
    Client(name="autobatcher", program="autobatcher.py", packages=("autobatcher",)),
    Client(name="offpeak", program="offpeak.py", packages=("offpeak[openai]",)),
)

CONFIGURATION: Final = """
[server]
port = 0
require_keys = false
[store]
url = "sqlite:///{folder}/gateway.db"
[lanes]
background_window = "10m"
[[venue]]
name = "local"
kind = "llama.cpp"
url = "http://127.0.0.1:{{port}}/v1"
command = ["{python}", "-m", "meritorder.gateway.venues.llamacpp", "--port", "{{port}}"]
models = {{ "smollm2-135m" = "smollm2-135m", "{alias}" = "smollm2-135m" }}
max_concurrency = 8
start = "2m"
"""

HEADER: Final = """# Clients

What was tried with clients of others, on a real gateway with the local engine (llama.cpp, SmolLM2-135M), by
`tools/try_clients.py` on {date}. Each was installed from its registry and was given the gateway's address; nothing else
was changed. A name under "works" is something that the program of that client in `tools/clients` did and checked; what
is not named was not tried. Versions are of the packages `langchain-openai`, `llama-index-llms-openai-like`,
`pydantic-ai-slim` and `ai` where a client has several.

| client | version | works | does not |
|---|---|---|---|
"""


def install(client: Client, folder: Path) -> str:
    """Install a client in an environment of its own; return its version."""
    there = folder / client.folder
    there.mkdir(parents=True, exist_ok=True)
    if client.is_node:
        run(["npm", "install", "--silent", "--prefix", str(there), *client.packages], INSTALL_S)
        package = there / "node_modules" / client.packages[0] / "package.json"
        return str(json.loads(package.read_text(encoding="utf-8"))["version"])
    python = there / "bin" / "python"
    if not python.exists():
        run([sys.executable, "-m", "venv", str(there)], INSTALL_S)
    run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *client.packages], INSTALL_S)
    package = client.packages[0].partition("[")[0]
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return run([str(python), "-c", code], TRY_S).strip()


def run(command: list[str], timeout_s: int, **environment: str) -> str:
    """Return what a command prints.

    Raises:
        RuntimeError: It failed, or took too long.
    """
    try:
        done = subprocess.run(
            command,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"took longer than {timeout_s} s") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["no output"]
        raise RuntimeError(f"{last[0][:150]}\n{done.stdout}")
    return done.stdout


def attempt(client: Client, folder: Path, url: str) -> tuple[list[str], list[str]]:
    """Run the program of a client; return what worked and what did not."""
    there = folder / client.folder
    program = PROGRAMS / client.program
    if client.is_node:
        copy = there / client.program
        copy.write_bytes(program.read_bytes())  # Node finds packages from where a program is
        command = ["node", str(copy)]
    else:
        command = [str(there / "bin" / "python"), "-P", str(program)]  # -P: some have the name of their package
    failure = []
    try:
        output = run(command, TRY_S, URL=url, MODEL="smollm2-135m", ALIAS=ALIAS)
    except RuntimeError as error:
        what, _, output = str(error).partition("\n")
        failure = [what]
    tried = [line.split() for line in output.splitlines() if line.lower().endswith((" true", " false"))]
    works = [words[0] for words in tried if words[-1].lower() == "true"]
    return works, [words[0] for words in tried if words[-1].lower() == "false"] + failure


def main() -> int:
    """Try the clients and write the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="Clients to try; by default all.")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "reference" / "clients.md")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "gateway.toml"
    text = CONFIGURATION.format(folder=folder, python=sys.executable, alias=ALIAS)
    config.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "meritorder", "serve", "--config", str(config)]
    rows = []
    with (
        (folder / "log").open("w", encoding="utf-8") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as gateway,
    ):
        try:
            url = (gateway.stdout.readline() if gateway.stdout else "").split()[-1]
            for client in CLIENTS:
                if options.names and client.name not in options.names:
                    continue
                try:
                    version = install(client, folder)
                except RuntimeError as error:
                    rows.append(f"| {client.name} | - | not tried | not installed: {str(error).splitlines()[0]} |")
                else:
                    works, fails = attempt(client, folder, url)
                    rows.append(f"| {client.name} | {version} | {', '.join(works)} | {', '.join(fails) or '-'} |")
                print(rows[-1], flush=True)
        finally:
            gateway.terminate()
    date = dt.datetime.now(dt.UTC).date()
    options.out.write_text(HEADER.format(date=date) + "\n".join(rows) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
