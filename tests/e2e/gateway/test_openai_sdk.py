"""The official client's own tests, from its source distribution, against a gateway that stores the ids they use."""

import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.e2e.gateway.conftest import ROOT, start

FILES = ("batches", "files", "completions", "embeddings", "responses", "models")
# Models are those of the configuration: the API cannot delete them.
OPTIONS = ("-p", "openai_seed", "-q", "-p", "no:cacheprovider", "-n", "0")
NOT_OFFERED = (
    "(test_models.py and delete and not path_params)"
    # The client asks for base64, and its strict mode then refuses the answer that it asked for.
    " or (test_embeddings.py and (strict or aiohttp) and create and not all_params)"
    # They give a conversation and a previous response together, which OpenAI refuses too.
    " or (test_responses.py and create_with_all_params)"
)


def source(folder: Path) -> Path:
    """Return the unpacked source distribution of the installed client."""
    name = f"openai-{version('openai')}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    done = subprocess.run(
        [*command, f"openai=={version('openai')}"], cwd=folder, capture_output=True, text=True, check=False
    )
    archive = folder / f"{name}.tar.gz"
    if not archive.exists():
        pytest.skip(f"the client's source distribution cannot be had: {done.stderr.strip()[-200:]}")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / name


@pytest.mark.slow
def test_official_client_passes(tmp_path: Path, engine: str) -> None:
    pytest.importorskip("inline_snapshot", reason="the client's tests need inline-snapshot and pytest-xdist")
    pytest.importorskip("xdist", reason="the client's tests need inline-snapshot and pytest-xdist")
    there = source(tmp_path)
    config = tmp_path / "gateway.toml"
    models = '["gpt-6-astra", "gpt-3.5-turbo-instruct", "text-embedding-3-small", "model"]'
    config.write_text(
        f'[server]\nport = 0\n[store]\nurl = "sqlite:///{tmp_path}/gateway.db"\n'
        f'[[venue]]\nname = "stub"\nurl = "{engine}"\nmodels = {models}\n'
    )
    gateway = start(["-m", "meritorder", "serve", "--config", str(config)], tmp_path / "log")
    asked = [f"tests/api_resources/test_{name}.py" for name in FILES]
    asked += ["tests/api_resources/chat", "tests/api_resources/responses"]
    path = [str(ROOT / "src"), str(ROOT / "tests" / "samples"), str(there), str(there / "src")]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *OPTIONS, *asked, "-k", f"not ({NOT_OFFERED})"],
            cwd=there,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path),
                "TEST_API_BASE_URL": f"{gateway.url}/v1",
                "MERITORDER_STORE": f"sqlite:///{tmp_path}/gateway.db",
                "MERITORDER_BLOBS": str(tmp_path / "blobs"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        gateway.stop()
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
