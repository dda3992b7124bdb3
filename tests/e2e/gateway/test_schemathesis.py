"""The API's document against the API: schemathesis calls every operation with valid and invalid inputs."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from tests.e2e.gateway.conftest import configuration, start

MODELS = ["stub", "nope"]
# Ids that a list or a batch names must exist, which no schema can say: they are refused with a 400, as OpenAI's are.
EXCLUDED = "positive_data_acceptance"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("schemathesis") is None, reason="no schemathesis")
def test_api_is_as_its_document_says(engine: str, tmp_path: Path) -> None:
    config = configuration(tmp_path, engine)
    config.write_text(config.read_text().replace("port = 0", "port = 0\nrequire_keys = false"))
    there = start(["-m", "meritorder", "serve", "--config", str(config)], tmp_path / "log")
    try:
        document = httpx.get(f"{there.url}/openapi.json", timeout=30).json()
        for name, schema in document["components"]["schemas"].items():
            if name.endswith("Call"):  # with models that the gateway serves, and one that it does not
                schema["properties"]["model"] = {"enum": [*MODELS, *([] if "model" in schema["required"] else [None])]}
        path = tmp_path / "openapi.json"
        path.write_text(json.dumps(document))
        command = [sys.executable, "-m", "schemathesis.cli", "run", str(path), "--url", there.url]
        command += ["--phases", "coverage", "--exclude-checks", EXCLUDED, "--no-color"]
        command += ["--generation-deterministic", "--request-timeout", "60"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    finally:
        there.stop()
    assert "Traceback" not in (tmp_path / "log").read_text()
