from pathlib import Path

import pytest

from meritorder.catalog import tokens
from meritorder.errors import ConfigError
from meritorder.gateway.app.proxy.settings import Account, proxy_settings
from meritorder.gateway.config import Settings
from meritorder.offers import TokenPrice


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")


def settings(folder: Path, *models: str, url: str = "", poll: str = "1s") -> Settings:
    account = Account(provider="openai", url=url)
    return proxy_settings(account, folder, models, host="127.0.0.1", port=0, poll=poll)


@pytest.mark.parametrize("url", ["", "https://api.openai.com/v1"])
def test_models_have_prices_of_provider(url: str, tmp_path: Path) -> None:
    priced, unknown = settings(tmp_path, "gpt-4o-mini", "of-mine", url=url).venue
    assert priced.price is not None
    assert priced.batch_price is not None
    assert priced.batch_price.output_usd_per_mtok == priced.price.output_usd_per_mtok / 2
    assert (unknown.price, unknown.batch_price, unknown.batch) == (None, None, True)


def test_other_url_has_no_prices(tmp_path: Path) -> None:
    (venue,) = settings(tmp_path, "gpt-4o-mini", url="https://other/v1").venue
    assert venue.price is None


def test_bad_argument_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'often' is not a duration"):
        settings(tmp_path, "m", poll="often")
    with pytest.raises(ConfigError, match="not an http URL"):
        settings(tmp_path, "m", url="ftp://x")


def test_prices_are_left_out_without_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_list(_: str) -> tuple[TokenPrice, ...]:
        raise ModuleNotFoundError(name="genai_prices")

    monkeypatch.setattr(tokens, "api_prices", without_list)
    (venue,) = settings(tmp_path, "gpt-4o-mini").venue
    assert venue.price is None
