"""The cost of an engine's tokens, from readings at known times: a dollar a second is 3600 USD an hour."""

from collections.abc import Callable, Iterator

import pytest

from meritorder.errors import ConfigError
from meritorder.records.accounting import WatchReport
from meritorder.study.watch import metrics_url, parse_reading, price_usd_per_hour, watch

URL = "http://engine/metrics"


def vllm(inputs: float, outputs: float, running: int = 0, model: str = "m") -> bytes:
    labels = f'{{engine="0",model_name="{model}"}}'
    return f"""# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{labels} {inputs}
# TYPE vllm:generation_tokens counter
vllm:generation_tokens_total{labels} {outputs}
vllm:generation_tokens_created{labels} 1.79e9
vllm:num_requests_running{labels} {running}
vllm:num_requests_waiting{labels} 0
""".encode()


class Server:
    """Answers with one text after another, a second apart; an exception is raised."""

    def __init__(self, *answers: bytes | BaseException) -> None:
        self.answers: Iterator[bytes | BaseException] = iter(answers)
        self.now_s = 100.0

    def read(self, _url: str) -> bytes:
        answer = next(self.answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def watched(self, interval_s: float, sleep: Callable[[float], None] | None = None) -> WatchReport:
        return watch(
            URL,
            usd_per_hour=3600.0,
            interval_s=interval_s,
            output_weight=4.0,
            read=self.read,
            clock=lambda: self.now_s,
            sleep=sleep or self.sleep,
        )


def test_cost_by_hand_with_idle() -> None:
    """Four seconds, 4 USD, 1,000 input and 250 output tokens; an output token counts four: 2 USD each."""
    server = Server(vllm(5, 5), vllm(505, 5, running=1), vllm(1005, 255), vllm(1005, 255), vllm(1005, 255))
    report = server.watched(4.0)
    assert (report.paid_usd, report.idle_usd, report.idle_s) == (4.0, 2.0, 2.0)
    assert (report.input_tokens, report.output_tokens) == (1000, 250)
    assert report.usd_per_mtok is not None
    assert report.busy_usd_per_mtok is not None
    assert report.usd_per_mtok.input_usd == pytest.approx(2_000)
    assert report.usd_per_mtok.output_usd == pytest.approx(8_000)
    assert report.usd_per_mtok.all_usd == pytest.approx(4 / 1250 * 1e6)
    assert report.busy_usd_per_mtok.all_usd == pytest.approx(2 / 1250 * 1e6)
    assert not report.warnings


def test_running_request_is_not_idle() -> None:
    """An engine that counts tokens when a request ends is busy before that."""
    report = Server(vllm(0, 0, running=1), vllm(0, 0, running=1), vllm(0, 0)).watched(2.0)
    assert (report.idle_s, report.usd_per_mtok) == (0.0, None)
    assert "watch longer" in report.warnings[0]


def test_restart_counts_only_new_tokens() -> None:
    report = Server(vllm(1000, 100), vllm(1010, 100), vllm(7, 3)).watched(2.0)
    assert (report.input_tokens, report.output_tokens) == (17, 3)
    assert "went back 1 time" in report.warnings[0]


def test_models_share_the_price_by_tokens() -> None:
    """Model a has 100 + 4 * 50 = 300 of 400 weighted tokens, b 100."""
    before = vllm(0, 0, model="a") + vllm(0, 0, model="b")
    after = vllm(100, 50, model="a") + vllm(100, 0, model="b")
    report = Server(before, after).watched(1.0)
    assert [(model.model, model.paid_usd) for model in report.models] == [("a", 0.75), ("b", 0.25)]


def test_model_that_appears_counts_from_zero() -> None:
    assert Server(vllm(9, 9), vllm(9, 9) + vllm(5, 0, model="b")).watched(1.0).input_tokens == 5


def test_counter_that_is_missed_once_is_not_new() -> None:
    """Of two processes one does not answer the second reading: it counts 10 more tokens, not 1,010."""
    first, second = vllm(100, 0, model="a"), vllm(1000, 0, model="b")
    report = Server(first + second, vllm(105, 0, model="a"), vllm(110, 0, model="a") + vllm(1010, 0, model="b"))
    assert report.watched(2.0).input_tokens == 20


def test_time_without_an_answer_is_apart() -> None:
    gone = ConfigError("cannot be read", where=URL)
    report = Server(vllm(0, 0), gone, vllm(10, 0), vllm(10, 0), gone).watched(4.0)
    assert (report.measured_s, report.unreachable_s, report.idle_s) == (3.0, 2.0, 1.0)
    assert [text.split(" for ")[0].split(":")[0] for text in report.warnings] == [
        "it could not be read",
        "it could not be read at the end",
    ]


def test_interruption_ends_with_what_was_measured() -> None:
    assert Server(vllm(0, 0), vllm(8, 0), KeyboardInterrupt()).watched(60.0).input_tokens == 8
    with pytest.raises(KeyboardInterrupt):
        Server(vllm(0, 0), KeyboardInterrupt()).watched(60.0)


def test_server_that_never_answers_again() -> None:
    with pytest.raises(ConfigError, match="second time"):
        Server(vllm(0, 0), *[ConfigError("gone")] * 3).watched(3.0)


def test_engines_by_their_counters() -> None:
    sglang = b'sglang:prompt_tokens_total{model_name="m"} 8.5e+06\nsglang:generation_tokens_total{model_name="m"} 7\n'
    llama = b"llamacpp:prompt_tokens_total 3\nllamacpp:tokens_predicted_total 4\nllamacpp:requests_deferred 2\n"
    llama += b"llamacpp:prompt_tokens_cached_total 5\n"
    assert parse_reading(sglang, at_s=0).engine == "sglang"
    assert sorted(parse_reading(sglang, at_s=0).tokens.values()) == [7, 8.5e6]
    assert (parse_reading(llama, at_s=0).engine, parse_reading(llama, at_s=0).sequences) == ("llama.cpp", 2)
    assert Server(llama, llama.replace(b"5", b"8")).watched(1.0).input_tokens == 3


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>404</html>",
        b"\xff\xfe",
        b"up 1\n",
        b"vllm:prompt_tokens_total NaN\n",
        b"vllm:prompt_tokens_total{ 5\n",
        b"vllm:prompt_tokens_total -1\n",
        b"vllm:prompt_tokens_total 1e300\n",
        b'{"detail": "Not Found"}',
    ],
)
def test_other_pages_are_refused(text: bytes) -> None:
    with pytest.raises(ConfigError, match="has no counters of vllm, sglang, llama"):
        parse_reading(text, at_s=0, where=URL)


def test_path_of_a_server_is_completed() -> None:
    assert metrics_url("http://engine:8000") == "http://engine:8000/metrics"
    assert metrics_url("https://proxy/a/metrics?model=m") == "https://proxy/a/metrics?model=m"
    wrong = ("engine:8000", "ftp://engine/metrics", "metrics.txt", "http:///metrics", "http://[::1/metrics", "")
    for url in (*wrong, "http://engine/\nmetrics", "http://an engine/metrics"):
        with pytest.raises(ConfigError, match="is not a URL") as caught:
            metrics_url(url)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"^engine: has a user") as caught:
        metrics_url("http://me:secret@engine/metrics")
    assert "secret" not in str(caught.value)


def test_price_is_given_or_of_the_catalog() -> None:
    assert price_usd_per_hour("", 2.5, "on_demand") == 2.5
    assert price_usd_per_hour("runpod 2x H100 SXM", None, "on_demand") > 1
    for wrong in (("", None), ("a", 1.0), ("", -1.0), ("", float("nan")), ("no machine", None)):
        with pytest.raises(ConfigError):
            price_usd_per_hour(*wrong, "on_demand")
    with pytest.raises(ConfigError, match="--pricing-model"):
        price_usd_per_hour("runpod 2x H100 SXM", None, "free")
