import pytest

from meritorder.units import format_share, format_usd


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0.0, "$0"),
        (1_234_567.8, "$1,234,568"),
        (1.236, "$1.24"),
        (0.9, "$0.90"),
        (0.5, "$0.50"),
        (0.0123, "$0.0123"),
        (0.000183, "$0.000183"),
        (0.0000021, "$0.000002"),
        (-12.5, "-$12.50"),
    ],
)
def test_dollars_keep_the_digits_that_matter(usd: float, text: str) -> None:
    assert format_usd(usd) == text


def test_dollars_of_a_column_share_their_decimals() -> None:
    assert format_usd(1234.5, 0) == "$1,234"
    assert format_usd(0.5, 3) == "$0.500"


@pytest.mark.parametrize(
    ("share", "decimals", "text"),
    [
        (0.456, 0, "46 %"),
        (0.0, 0, "0 %"),
        (1.0, 2, "100.00 %"),
        (0.99999, 2, ">99.99 %"),
        (0.997, 0, ">99 %"),
        (0.001, 0, "<1 %"),
    ],
)
def test_a_share_is_never_rounded_up_to_all_or_down_to_nothing(share: float, decimals: int, text: str) -> None:
    assert format_share(share, decimals) == text
