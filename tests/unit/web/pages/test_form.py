"""The fields of the calculator's form, read from an address."""

from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meritorder.domain import Slo
from meritorder.web.pages.form import CalculatorForm, FormError, read_form

_NAMES = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=20).filter(
    lambda text: text == text.strip()
)


@given(
    st.builds(
        CalculatorForm,
        model=_NAMES,
        hardware=st.lists(_NAMES, min_size=1, max_size=4, unique=True).map(tuple),
        requests_per_day=st.integers(1, 10**8).map(float),
        peak=st.integers(1, 20).map(float),
        can_wait=st.integers(0, 100).map(float),
        patience=st.sampled_from(["15m", "4h", "2d"]),
    )
)
def test_address_holds_all_settings(form: CalculatorForm) -> None:
    assert read_form(parse_qs(form.query())) == form


def test_large_numbers_survive_the_address() -> None:
    assert read_form(parse_qs(CalculatorForm(requests_per_day=12_345_678.0).query())).requests_per_day == 12_345_678


def test_missing_fields_keep_their_defaults() -> None:
    assert read_form({"model": [" "], "peak": ["5"]}) == CalculatorForm(peak=5.0)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("peak", "nan"),
        ("peak", "0.5"),
        ("requests_per_day", "1e300"),
        ("requests_per_day", "-5"),
        ("can_wait", "101"),
        ("input_tokens", "inf"),
        ("patience", "soon"),
        ("patience", "0h"),
        ("patience", "366d"),
        ("patience", "9999999999d"),
        ("model", "x" * 101),
        ("model", "a\nb"),
        ("ttft_s", "0"),
        ("color", "red"),
    ],
)
def test_unusable_field_is_named(field: str, text: str) -> None:
    with pytest.raises(FormError, match=field):
        read_form({field: [text]})


def test_too_many_gpus_are_refused() -> None:
    with pytest.raises(FormError, match="hardware"):
        read_form({"hardware": [f"gpu-{number}" for number in range(9)]})


def test_options_state_what_can_wait() -> None:
    options = CalculatorForm(can_wait=12.5, patience="2h", ttft_s=1.0, tpot_s=0.05).options()
    assert options.defer == ("12.5%@2h",)
    assert options.slo == Slo(ttft_s=1.0, tpot_s=0.05)
    assert CalculatorForm(can_wait=0.0).options().defer == ()
