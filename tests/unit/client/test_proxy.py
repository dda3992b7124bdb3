from pathlib import Path

import pytest

from meritorder.client.proxy import default_folder, provider_of, socket_file
from meritorder.errors import ConfigError


def test_accounts_share_no_folder() -> None:
    accounts = [("https://a/v1", "k"), ("https://a/v1", "other"), ("https://b/v1", "k")]
    assert len({default_folder("openai", url, key) for url, key in accounts}) == 3
    assert "secret" not in str(default_folder("openai", "https://a/v1", "secret"))


def test_only_providers_have_no_gateway() -> None:
    assert provider_of("https://api.openai.com/v1") == "openai"
    assert provider_of("https://api.anthropic.com/v1") == "anthropic"
    assert provider_of("https://gateway.example/api.openai.com/v1") is None


def test_long_path_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too long for a socket"):
        socket_file(tmp_path / ("x" * 100))
