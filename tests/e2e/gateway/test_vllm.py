"""A real vLLM as an engine of the gateway: started on demand, with its load read and its priorities used.

vLLM has an environment of its own, for it pins what it needs: `VLLM_PYTHON` names the Python of that one.
CONTRIBUTING.md says how it is made on a machine without a GPU.
"""

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import openai
import pytest
from openai import OpenAI
from tests.e2e.gateway.conftest import ROOT, new_key, start
from tests.e2e.gateway.test_batches import create, ended, line, results, upload

PYTHON = os.environ.get("VLLM_PYTHON", sys.executable)
MAX_SEQUENCES = 4
LINES = 40
TOKENS = 300  # a line outlasts several looks at the load
LONGEST_S = 200.0


def _is_there() -> bool:
    asked = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"
    return subprocess.run([PYTHON, "-c", asked], check=False, capture_output=True).returncode == 0


@pytest.mark.slow
def test_both_lanes_on_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not _is_there():
        pytest.skip("vLLM is not installed; VLLM_PYTHON names the Python that has it")
    model = tmp_path / "model"
    subprocess.run([PYTHON, str(ROOT / "tests" / "peers" / "tiny_model.py"), str(model)], check=True)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = _configuration(tmp_path, model)
    there = start(["-m", "meritorder", "serve", "--config", str(config)], tmp_path / "log")
    try:
        key = new_key(config, "--admin")
        with OpenAI(base_url=f"{there.url}/v1", api_key=key, max_retries=0, timeout=300) as client:
            _started(client)
            lines = [line(number, max_tokens=TOKENS, ignore_eos=True) for number in range(LINES)]
            batch = create(client, upload(client, lines))
            running, beside, until_s = 0.0, 0, time.monotonic() + LONGEST_S
            while client.batches.retrieve(batch.id).status in {"validating", "in_progress"}:
                assert time.monotonic() < until_s, "real time left no capacity"
                assert len(_said(client)) > 1  # each event of vLLM has its usage so far
                beside += 1
                running = max(running, _metric(there.url, key, "meritorder_deferrable"))
                assert _metric(there.url, key, "meritorder_alert") == 0  # its load can be read
            done = ended(client, batch, within_s=300)
            assert done.status == "completed"
            assert done.error_file_id is None  # vLLM refuses a priority that it does not schedule by
            assert len(results(client, done.output_file_id)) == LINES
            assert done.usage is not None
            assert done.usage.output_tokens == LINES * TOKENS
            assert beside > 1
            assert 1 < running <= MAX_SEQUENCES
    finally:
        there.stop()


def _configuration(folder: Path, model: Path) -> Path:
    # As `vllm serve` does, whose wheel for processors does not know its own name.
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", "stub", "--port", "{port}"]
    command += ["--scheduling-policy", "priority", "--max-num-seqs", str(MAX_SEQUENCES), "--max-model-len", "1024"]
    command += ["--enforce-eager"]
    path = folder / "gateway.toml"
    path.write_text(
        f'[server]\nport = 0\n[store]\nurl = "sqlite:///{folder}/gateway.db"\n'
        '[[venue]]\nname = "vllm"\nurl = "http://127.0.0.1:{port}/v1"\nkind = "vllm"\nmodels = ["stub"]\n'
        f"priority = true\nmax_concurrency = {MAX_SEQUENCES}\ncommand = {command!r}\n",
        encoding="utf-8",
    )
    return path


def _started(client: OpenAI) -> None:
    """Call until the engine is ready."""
    until_s = time.monotonic() + 300
    while True:
        try:
            assert _said(client)
        except openai.InternalServerError:
            assert time.monotonic() < until_s
            time.sleep(1)
        else:
            return


def _said(client: OpenAI) -> list[str]:
    messages = [{"role": "user", "content": "hello"}]
    more = {"ignore_eos": True}
    stream = client.chat.completions.create(  # type: ignore[call-overload]
        model="stub", messages=messages, max_tokens=16, stream=True, extra_body=more
    )
    return [chunk.choices[0].delta.content for chunk in stream if chunk.choices]


def _metric(url: str, key: str, name: str) -> float:
    asked = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(asked) as answer:
        rows = answer.read().decode().splitlines()
    return next(float(row.rpartition(" ")[2]) for row in rows if row.startswith(f'{name}{{venue="vllm"}}'))
