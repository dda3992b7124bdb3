"""What waiting would have saved, from counters and logs whose requests are known, on a clock that a test moves."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from meritorder.errors import ConfigError, MeritorderError
from meritorder.records.comparison import ShadowReport
from meritorder.study.compare.compare import CompareOptions, compare
from meritorder.study.compare.shadow import ASSUMED_PROMPT_TOKENS, shadow
from meritorder.traces.read import read_trace

START_S = 1_796_000_000.0
OPTIONS = CompareOptions(model="llama-3.1-8b", hardware=("l40s",), providers=("runpod",), tp=1, defer=("40%@4h",))
URL = "http://engine/metrics"


class Clock:
    """A clock that only sleeping moves, and the counters of an engine with a request each second."""

    def __init__(self) -> None:
        self.now_s = START_S

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def vllm(self, _url: str) -> bytes:
        requests = round(self.now_s - START_S)
        return (
            f"vllm:prompt_tokens_total {300 * requests}\nvllm:generation_tokens_total {40 * requests}\n"
            f'vllm:request_success_total{{finished_reason="stop"}} {requests}\n'
        ).encode()

    def llama_cpp(self, _url: str) -> bytes:
        prompts = 2 * ASSUMED_PROMPT_TOKENS * round(self.now_s - START_S)
        return f"llamacpp:prompt_tokens_total {prompts}\nllamacpp:tokens_predicted_total {prompts}\n".encode()

    def watched(self, read: Callable[[str], bytes], logs: Sequence[str] = (), for_s: float = 120.0) -> ShadowReport:
        urls = () if read is no_engine else (URL,)
        return shadow(
            urls, logs, OPTIONS, for_s=for_s, every_s=60, read=read, clock=lambda: self.now_s, sleep=self.sleep
        )


def no_engine(url: str) -> bytes:
    raise ConfigError("cannot be read", where=url)


def log(path: Path, seconds: int, start_s: float = START_S) -> str:
    rows = "".join(f"{start_s + second},{300},{40}\n" for second in range(seconds))
    path.write_text(f"time,input_tokens,output_tokens\n{rows}")
    return str(path)


def test_counters_add_up_by_period() -> None:
    clock = Clock()
    report = clock.watched(clock.vllm)
    assert [period.requests for period in report.periods] == [60, 60]
    assert (report.whole.requests, report.whole.input_tokens, report.whole.output_tokens) == (120, 36_000, 4_800)
    assert any("spread at random" in assumption.text for assumption in report.whole.assumptions)


def test_log_is_what_compare_says(tmp_path: Path) -> None:
    path = log(tmp_path / "log.csv", 120)
    report = Clock().watched(no_engine, [path])
    answer = compare(read_trace([path]), OPTIONS)
    assert report.whole.saving_usd == answer.saving_usd
    assert report.whole.saving_interval == answer.saving_interval
    assert sum(credit.usd for credit in report.whole.credited) == pytest.approx(answer.saving_usd)


def test_incomplete_log_is_a_warning(tmp_path: Path) -> None:
    clock = Clock()
    report = clock.watched(clock.vllm, [log(tmp_path / "log.csv", 60)], for_s=120)
    assert report.periods[1].no_saving_because == "no request arrived"
    assert report.warnings == ["the log has 50 % of the tokens that the engines counted"]


def test_requests_assumed_without_counter() -> None:
    clock = Clock()
    report = clock.watched(clock.llama_cpp, for_s=60)
    assert report.whole.requests == 120
    assert [text for text in report.warnings if "counts no requests" in text]
    assert [text for text in report.warnings if "confirm it with --log" in text]


def test_prompt_waits_for_its_answer() -> None:
    """A prompt of 600 tokens is counted 40 seconds before its 90 tokens of answer."""
    clock = Clock()

    def read(_url: str) -> bytes:
        since_s = clock.now_s - START_S
        prompt, answer = 600 * (since_s > 5), 90 * (since_s > 45)
        return f"llamacpp:prompt_tokens_total {prompt}\nllamacpp:tokens_predicted_total {answer}\n".encode()

    whole = clock.watched(read, for_s=60).whole
    assert (whole.requests, whole.input_tokens, whole.output_tokens) == (1, 600, 90)


def test_interrupt_keeps_what_was_seen() -> None:
    clock = Clock()

    def interrupted(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now_s > START_S + 80:
            raise KeyboardInterrupt

    report = shadow(
        [URL], (), OPTIONS, for_s=600, every_s=60, read=clock.vllm, clock=lambda: clock.now_s, sleep=interrupted
    )
    assert [period.requests for period in report.periods] == [60]
    assert report.whole.requests == 90


def test_times_without_dates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not dates"):
        Clock().watched(no_engine, [log(tmp_path / "log.csv", 10, start_s=0)])


def test_mistakes_are_refused_at_start() -> None:
    clock = Clock()
    with pytest.raises(MeritorderError, match="no-such-gpu"):
        shadow([URL], (), replace(OPTIONS, hardware=("no-such-gpu",)), for_s=60, every_s=60, read=clock.vllm)


def test_slow_answers_lose_no_request() -> None:
    """An answer that takes longer than two periods: their requests are spread over them, and none is lost."""
    clock = Clock()
    report = shadow(
        [URL],
        (),
        OPTIONS,
        for_s=240,
        every_s=60,
        read=clock.vllm,
        clock=lambda: clock.now_s,
        sleep=clock.sleep,
        on_period=lambda period: clock.sleep(150) if period.start_epoch_s == START_S else None,
    )
    assert report.periods[0].requests == 60
    assert all(period.requests > 30 for period in report.periods[1:])
    assert report.whole.requests == 240


def test_outage_is_counted() -> None:
    clock = Clock()

    def read(url: str) -> bytes:
        return no_engine(url) if 15 < clock.now_s - START_S < 45 else clock.vllm(url)

    report = clock.watched(read, for_s=60)
    assert (report.unreachable_s, report.whole.requests) == (40.0, 60)


def test_nothing_to_watch_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to watch"):
        Clock().watched(no_engine)
