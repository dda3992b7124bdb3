"""Values of options: what they mean, and the error for a value that means nothing."""

import pytest

from meritorder.cli import parsing
from meritorder.errors import ConfigError, MeritorderError
from meritorder.study.fleet.options import CompareOptions


@pytest.mark.parametrize(
    ("text", "ttft_s", "tpot_s", "attainment"),
    [
        ("ttft=500ms", 0.5, 0.1, 0.99),
        ("ttft=1s, tpot=50ms, attainment=95%", 1.0, 0.05, 0.95),
        ("attainment=0.9", 2.0, 0.1, 0.9),
    ],
)
def test_slo_parts_left_out_keep_defaults(text: str, ttft_s: float, tpot_s: float, attainment: float) -> None:
    slo = parsing.parse_slo(text)
    assert slo is not None
    assert (slo.ttft_s, slo.tpot_s) == (ttft_s, tpot_s)
    assert slo.attainment == pytest.approx(attainment)


@pytest.mark.parametrize(
    "text", ["soon", "ttft=", "ttft=-1s", "ttft=0s", "speed=1s", "attainment=most", "attainment=101%", "ttft=1s,,"]
)
def test_invalid_slo_is_refused(text: str) -> None:
    with pytest.raises(MeritorderError):
        parsing.parse_slo(text)


def test_empty_slo_is_none() -> None:
    assert parsing.parse_slo("") is None
    assert CompareOptions().slo is None


def test_startup_is_parsed_in_parts() -> None:
    whole = parsing.parse_startup("10m")
    assert whole.total_s == pytest.approx(600)
    assert whole.paid_s / whole.total_s == pytest.approx(0.8)
    parts = parsing.parse_startup("machine=10s,image=20s,weights=30s,warmup=0s")
    assert (parts.total_s, parts.paid_s) == (60, 50)
    with pytest.raises(MeritorderError, match="unknown 'coffee'"):
        parsing.parse_startup("coffee=5m")


def test_names_and_pairs_are_parsed() -> None:
    assert parsing.parse_names(" h100, ,h200 ") == ("h100", "h200")
    assert parsing.parse_names("") == ()
    assert parsing.parse_pairs("arrival=ts, input=a=b", "--columns") == {"arrival": "ts", "input": "a=b"}
    with pytest.raises(MeritorderError, match="field=value"):
        parsing.parse_pairs("arrival", "--columns")


@pytest.mark.parametrize(("text", "zero", "seconds"), [("90s", False, 90), ("1h30m", False, 5400), ("0s", True, 0)])
def test_duration_is_parsed(text: str, seconds: float, *, zero: bool) -> None:
    assert parsing.parse_duration(text, "--startup", zero=zero) == seconds


@pytest.mark.parametrize("text", ["0s", "5", "nan", "-5m", "inf"])
def test_invalid_duration_names_its_option(text: str) -> None:
    with pytest.raises(MeritorderError) as caught:
        parsing.parse_duration(text, "--batch-deadline")
    assert str(caught.value).startswith("--batch-deadline: ")


def test_unknown_precision_names_known_ones() -> None:
    assert parsing.parse_precisions("fp8, nvfp4") == ("fp8", "nvfp4")
    with pytest.raises(ConfigError, match=r"--allow-precision: unknown precision 'fp7'; one of bf16.*nvfp4"):
        parsing.parse_precisions("fp8,fp7")
