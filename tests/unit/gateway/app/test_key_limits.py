import pytest

from meritorder.errors import ConfigError
from meritorder.gateway.app.key_limits import KeyLimits, parse_budget

PICO = 10**12


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("50", (50 * PICO, None)),
        ("50/day", (50 * PICO, "day")),
        ("$0.5/hour", (PICO // 2, "hour")),
        ("0.000000000001", (1, None)),
        ("9000000/month", (9_000_000 * PICO, "month")),
        (" 12.34/week ", (12_340_000_000_000, "week")),
    ],
)
def test_budgets_are_exact(text: str, budget: tuple[int, str | None]) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    "text",
    [
        "nan",
        "inf",
        "1e300",
        "1e3",
        "-5",
        "0",
        "0/day",
        "0.0",
        "5/fortnight",
        "5/",
        "/day",
        "1_000",
        "9000001",
        "0.0000000000001",
        "\u0665",
        "5/DAY",
        "5/day/day",
        "none",
    ],
)
def test_other_budgets_are_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_budget(text)
    assert caught.value.where == "--budget"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["0", "-3", "nan", "1e9", "5.5", "", "2147483648", "5/day", "inf", "\u0665"])
@pytest.mark.parametrize("option", ["requests_per_minute", "tokens_per_minute"])
def test_invalid_rates_are_refused(option: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        KeyLimits(**{option: text}).rates()
    assert caught.value.where == f"--{option.replace('_', '-')}"


def test_rates_are_set_and_removed() -> None:
    assert KeyLimits(requests_per_minute="5", tokens_per_minute="none").rates() == {
        "requests_per_minute": 5,
        "tokens_per_minute": None,
    }


@pytest.mark.parametrize("text", ["0%", "101%", "80", "nan%", "-1%", "%"])
def test_invalid_soft_limits_are_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        KeyLimits(budget="5", soft_limit=text).apply_to(None, "key_1", "t")
    assert caught.value.where == "--soft-limit"


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Europe", "UTC\0"])
def test_unknown_time_zones_are_refused(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        KeyLimits(budget="5/day", time_zone=name).apply_to(None, "key_1", "t")
    assert caught.value.where == "--time-zone"


@pytest.mark.parametrize("text", ["\u0665", "0.0000000000001", "5/DAY", "5/day/day", "none", "5/day 6", "$-5"])
def test_budgets_are_plain_numbers(text: str) -> None:
    """Neither digits of other scripts, nor less than a picodollar, nor anything after the period."""
    with pytest.raises(ConfigError):
        parse_budget(text)
