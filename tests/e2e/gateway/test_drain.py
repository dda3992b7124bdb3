"""A machine is taken away: its deferrable request is answered elsewhere, and nothing starts on it."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import urllib3
from openai import OpenAI
from tests.e2e.gateway.conftest import new_key, start

pytestmark = pytest.mark.slow

TOKENS = 200


def test_drained_request_is_answered_elsewhere(tmp_path: Path) -> None:
    engines = [
        start(["-m", "tests.peers.engine", "--max-sequences", "8", "--token-s", "0.02"], tmp_path / f"{name}.log")
        for name in ("spot", "other")
    ]
    venues = "".join(
        f'[[venue]]\nname = "{name}"\nurl = "{engine.url}"\nkind = "vllm"\nmodels = ["stub"]\n'
        for name, engine in zip(("spot", "other"), engines, strict=True)
    )
    config = tmp_path / "gateway.toml"
    config.write_text(f'[server]\nport = 0\n[store]\nurl = "sqlite:///{tmp_path}/gateway.db"\n{venues}')
    gateway = start(["-m", "meritorder", "serve", "--config", str(config)], tmp_path / "log")
    key = new_key(config, "--admin")

    def ask(method: str, path: str, body: dict[str, float] | None = None) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {key}"}
        answer: dict[str, Any] = urllib3.request(
            method, gateway.url + path, headers=headers, timeout=30, json=body
        ).json()
        return answer

    def running() -> dict[str, int]:
        return {venue["name"]: venue["deferrable"] for venue in ask("GET", "/meritorder/status")["venues"]}

    def until(name: str, count: int) -> None:
        ends_s = time.monotonic() + 20
        while running()[name] != count:
            assert time.monotonic() < ends_s, running()
            time.sleep(0.02)

    answers = []
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0) as client:

        def call() -> None:
            message: Any = {"role": "user", "content": "hello"}
            answers.append(
                client.chat.completions.create(
                    model="stub", messages=[message], max_tokens=TOKENS, extra_headers={"Meritorder-Deadline": "5m"}
                )
            )

        try:
            ask("POST", "/v1/venues/other/drain", {"notice_s": 0})
            thread = threading.Thread(target=call)
            thread.start()
            until("spot", 1)
            ask("DELETE", "/v1/venues/other/drain")
            assert ask("POST", "/v1/venues/spot/drain", {"notice_s": 0})["draining"]
            until("other", 1)
            thread.join(30)
            assert running() == {"spot": 0, "other": 0}
        finally:
            for process in (gateway, *engines):
                process.stop()
    (answer,) = answers
    assert answer.usage is not None
    assert answer.usage.completion_tokens == TOKENS
