from pathlib import Path

import pytest

from meritorder.errors import ConfigError
from meritorder.gateway.app.client import GatewayClient

BATCH = {"id": "batch_1", "status": "in_progress", "output_file_id": None, "error_file_id": None}


@pytest.mark.parametrize("line", ["", "not json", "[]", '{"custom_id": "a"}'])
def test_first_line_must_be_request(tmp_path: Path, line: str) -> None:
    path = tmp_path / "input.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    with GatewayClient("http://127.0.0.1:1", "") as client, pytest.raises(ConfigError, match="first line"):
        client.submit(path, "24h")


def test_unreachable_gateway_is_one_line() -> None:
    unreachable = pytest.raises(ConfigError, match="cannot be reached")
    with GatewayClient("http://127.0.0.1:1/v1", "key") as client, unreachable as caught:
        client.status()
    assert caught.value.where == "http://127.0.0.1:1"


def test_batch_without_results(tmp_path: Path) -> None:
    with GatewayClient("http://127.0.0.1:1", "") as client, pytest.raises(ConfigError, match="no results yet"):
        list(client.fetch(BATCH, tmp_path / "out.jsonl"))
