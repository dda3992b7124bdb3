"""`meritorder watch` against a server on this machine."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from meritorder.cli import app
from meritorder.errors import ConfigError, MeritorderError


class Handler(BaseHTTPRequestHandler):
    """An SGLang server whose tokens grow by 1,000 with each reading."""

    readings = 0

    def do_GET(self) -> None:
        statuses = {"/metrics": 200, "/answers": 200, "/locked": 401}
        Handler.readings += 1
        self.send_response(statuses.get(self.path, 404))
        self.end_headers()
        counters = f"sglang:prompt_tokens_total {1000 * Handler.readings}\nsglang:num_running_reqs 1\n"
        if self.path == "/answers":
            counters += f"sglang:generation_tokens_total {50 * Handler.readings}\n"
        self.wfile.write(counters.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_answer_in_terminal_and_as_json(server: str, tmp_path: Path) -> None:
    target = tmp_path / "cost.json"
    result = CliRunner().invoke(
        app, ["watch", server, "--usd-per-hour", "36", "--interval", "1s", "--json", str(target)]
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(target.read_text())
    assert (answer["schema"], answer["engine"], answer["idle_usd"]) == ("meritorder.watch/1", "sglang", 0)
    assert answer["url"] == f"{server}/metrics"
    # A cent a second: 1,000 tokens in one of them cost a cent, a million 10 USD.
    seconds, tokens = answer["measured_s"], answer["input_tokens"]
    assert answer["paid_usd"] == pytest.approx(0.01 * seconds)
    assert answer["usd_per_mtok"]["all_usd"] == pytest.approx(0.01 * seconds / tokens * 1e6)
    assert "A million tokens cost" in result.output


def test_shadow_says_what_was_saved(server: str, tmp_path: Path) -> None:
    target = tmp_path / "shadow.json"
    options = ["--model", "llama-3.1-8b", "--defer", "40%@1h", "--for", "2s", "--every", "1s", "--startup", "3s"]
    result = CliRunner().invoke(app, ["shadow", "--metrics", f"{server}/answers", *options, "--json", str(target)])
    assert result.exit_code == 0, result.output
    answer = json.loads(target.read_text())
    assert answer["schema"] == "meritorder.shadow/1"
    # Two periods; a machine that is busy at their border makes one or three of them.
    assert sum(period["requests"] for period in answer["periods"]) == answer["whole"]["requests"] > 0
    assert answer["whole"]["input_tokens"] == 1000 * answer["whole"]["requests"]
    assert "would have been saved" in result.output
    assert "a machine serves 3 s after it is rented" in target.read_text()


@pytest.mark.parametrize(
    ("path", "options", "says"),
    [
        ("/metrics", [], "give exactly one of the two"),
        ("/metrics", ["--usd-per-hour", "1", "--interval", "soon"], "'soon' is not a duration"),
        ("/metrics", ["--usd-per-hour", "1", "--interval", "0s"], "not a duration"),
        ("/metric", ["--usd-per-hour", "1"], "answered 404; start the engine with --enable-metrics"),
        ("/locked", ["--usd-per-hour", "1"], "answered 401; name the variable"),
        ("/metrics", ["--machine", "no such machine"], "no price of the machine"),
    ],
)
def test_mistakes_are_one_line(server: str, path: str, options: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["watch", f"{server}{path}", *options])
    assert isinstance(result.exception, MeritorderError)
    assert says in str(result.exception)
    assert "\n" not in str(result.exception)


def test_server_that_is_down_is_one_line() -> None:
    result = CliRunner().invoke(app, ["watch", "http://127.0.0.1:9/metrics", "--usd-per-hour", "1"])
    assert isinstance(result.exception, ConfigError)
    assert "cannot be read" in str(result.exception)
