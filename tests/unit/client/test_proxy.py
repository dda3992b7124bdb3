from pathlib import Path

import pytest

from meritorder.client.proxy import default_folder, is_provider, socket_file
from meritorder.errors import ConfigError


def test_accounts_share_no_folder() -> None:
    accounts = [("https://a/v1", "k"), ("https://a/v1", "other"), ("https://b/v1", "k")]
    assert len({default_folder("openai", url, key) for url, key in accounts}) == 3
    assert "secret" not in str(default_folder("openai", "https://a/v1", "secret"))


def test_only_openai_has_no_gateway() -> None:
    assert is_provider("https://api.openai.com/v1")
    assert not is_provider("https://gateway.example/api.openai.com/v1")


def test_long_path_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too long for a socket"):
        socket_file(tmp_path / ("x" * 100))
