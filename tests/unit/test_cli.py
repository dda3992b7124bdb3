"""What the options mean, and what a mistake in them is told as."""

import sys

import pytest

from meritorder import __version__, cli
from meritorder.cli import parsing
from meritorder.errors import MeritorderError
from meritorder.study.fleet.options import Options


@pytest.mark.parametrize(
    ("text", "ttft_s", "tpot_s", "attainment"),
    [
        ("ttft=500ms", 0.5, 0.1, 0.99),
        ("ttft=1s, tpot=50ms, attainment=95%", 1.0, 0.05, 0.95),
        ("attainment=0.9", 2.0, 0.1, 0.9),
    ],
)
def test_a_promise_is_read_and_what_is_left_out_keeps_its_default(
    text: str, ttft_s: float, tpot_s: float, attainment: float
) -> None:
    slo = parsing.slo_of(text)
    assert slo is not None
    assert (slo.ttft_s, slo.tpot_s) == (ttft_s, tpot_s)
    assert slo.attainment == pytest.approx(attainment)


@pytest.mark.parametrize(
    "text", ["soon", "ttft=", "ttft=-1s", "ttft=0s", "speed=1s", "attainment=most", "attainment=101%", "ttft=1s,,"]
)
def test_a_promise_of_nonsense_is_refused(text: str) -> None:
    with pytest.raises(MeritorderError):
        parsing.slo_of(text)


def test_no_promise_leaves_it_to_the_library() -> None:
    assert parsing.slo_of("") is None
    assert Options().slo is None


def test_a_start_up_is_read_whole_or_in_parts() -> None:
    whole = parsing.startup_of("10m")
    assert whole.total_s == pytest.approx(600)
    assert whole.paid_s / whole.total_s == pytest.approx(0.8)
    parts = parsing.startup_of("machine=10s,image=20s,weights=30s,warmup=0s")
    assert (parts.total_s, parts.paid_s) == (60, 50)
    with pytest.raises(MeritorderError, match="unknown 'coffee'"):
        parsing.startup_of("coffee=5m")


def test_names_and_pairs() -> None:
    assert parsing.names(" h100, ,h200 ") == ("h100", "h200")
    assert parsing.names("") == ()
    assert parsing.pairs("arrival=ts, input=a=b", "--columns") == {"arrival": "ts", "input": "a=b"}
    with pytest.raises(MeritorderError, match="field=value"):
        parsing.pairs("arrival", "--columns")


@pytest.mark.parametrize(("text", "zero", "seconds"), [("90s", False, 90), ("1h30m", False, 5400), ("0s", True, 0)])
def test_a_duration_is_read(text: str, seconds: float, *, zero: bool) -> None:
    assert parsing.duration_s(text, "--startup", zero=zero) == seconds


@pytest.mark.parametrize("text", ["0s", "5", "nan", "-5m", "inf"])
def test_no_duration_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(MeritorderError) as caught:
        parsing.duration_s(text, "--batch-deadline")
    assert str(caught.value).startswith("--batch-deadline: ")


def outcome(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["meritorder", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare"], "Missing argument 'TRACE...'"),
        (["compare", "x", "--tp", "many"], "'--tp'"),
        (["compare", "x", "--tp", "0"], "'--tp'"),
        (["compare", "x", "--seed", "-1"], "'--seed'"),
        (["prices", "--limit", "0"], "'--limit'"),
        (["prices", "--pricing-model", "begging"], "'begging'"),
        (["prices", "--json"], "'--json'"),
        (["compere"], "No such command 'compere'"),
        (["--nonsense"], "No such option: --nonsense"),
    ],
)
def test_a_wrong_use_is_one_line_that_names_the_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert outcome(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("meritorder: ")
    assert said.strip("'") in err
    assert "--help` says what there is" in err


def test_an_interruption_says_that_nothing_was_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("meritorder.study.prices.listing", interrupted)
    assert outcome(monkeypatch, "prices") == 130
    assert "nothing was written" in capsys.readouterr().err


def test_the_version_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert not outcome(monkeypatch, "--version")
    assert capsys.readouterr().out == f"meritorder {__version__}\n"
