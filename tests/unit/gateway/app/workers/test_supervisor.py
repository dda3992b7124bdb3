"""What a gateway of several processes refuses, before it starts any."""

from pathlib import Path
from typing import Any

import pytest

from meritorder.errors import ConfigError
from meritorder.gateway import config_file
from meritorder.gateway.app import server
from meritorder.gateway.app.workers.supervisor import serve_workers


@pytest.mark.parametrize(
    ("venue", "refusal"),
    [
        (
            {"max_concurrency": 2},
            "--workers: venue v has max_concurrency = 2, which 3 workers cannot share; start at most",
        ),
        ({"tokens_per_minute": 1}, "--workers: venue v has tokens_per_minute = 1, which 3 workers cannot share"),
        (
            {"command": ["engine", "--port", "{port}"]},
            "--workers: venue v has a command, which each of 3 workers would start; run engine --port 8001 yourself",
        ),
        ({"api_key_env": "NO_SUCH_KEY"}, "venue v: the environment variable NO_SUCH_KEY is not set"),
    ],
)
def test_unusable_settings_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, venue: dict[str, Any], refusal: str
) -> None:
    monkeypatch.setattr(server, "configure_logging", lambda _: None)  # of the whole process, so of later tests too
    table = {"name": "v", "url": "http://127.0.0.1:{port}/v1", "models": ["m"], "kind": "vllm", **venue}
    document = {"store": {"url": f"sqlite:///{tmp_path}/gateway.db"}, "venue": [table]}
    settings = config_file.parse_settings(document, where="gateway.toml")
    with pytest.raises(ConfigError) as refused:
        serve_workers(settings, print, 3)
    assert str(refused.value).startswith(refusal)
