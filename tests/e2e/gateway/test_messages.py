"""Anthropic's own client on the gateway."""

import time
from collections.abc import Iterator
from pathlib import Path

import anthropic
import pytest
from anthropic import Anthropic
from tests.e2e.gateway.conftest import new_key

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def claude(gateway: str, config: Path) -> Iterator[Anthropic]:
    with Anthropic(base_url=gateway, api_key=new_key(config, "--tenant", "messages"), max_retries=0) as client:
        yield client


def test_message_whole_and_streamed(claude: Anthropic) -> None:
    whole = claude.messages.create(model="stub", max_tokens=4, messages=HELLO)  # type: ignore[arg-type]
    with claude.messages.stream(model="stub", max_tokens=4, messages=HELLO) as stream:  # type: ignore[arg-type]
        streamed = stream.get_final_message()
    assert whole.content[0].text == streamed.content[0].text != ""  # type: ignore[union-attr]
    assert whole.usage.output_tokens == streamed.usage.output_tokens == 4


def test_tokens_are_counted_or_estimated(claude: Anthropic) -> None:
    """The engine counts texts, always as 7; what only a message can say is estimated."""
    assert claude.messages.count_tokens(model="stub", messages=HELLO).input_tokens == 7  # type: ignore[arg-type]
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/" + "a" * 400}}
    asked = [{"role": "user", "content": [image]}]
    estimate = claude.messages.count_tokens(model="stub", messages=asked)  # type: ignore[arg-type]
    assert estimate.model_extra == {"is_estimate": True}
    assert estimate.input_tokens > 100
    for messages in (HELLO, asked):
        with pytest.raises(anthropic.NotFoundError, match="nobody"):
            claude.messages.count_tokens(model="nobody", messages=messages)  # type: ignore[arg-type]


def test_errors_have_anthropic_form(claude: Anthropic, gateway: str) -> None:
    with pytest.raises(anthropic.NotFoundError, match="nobody"):
        claude.messages.create(model="nobody", max_tokens=4, messages=HELLO)  # type: ignore[arg-type]
    with pytest.raises(anthropic.BadRequestError, match="thinking"):
        claude.messages.create(
            model="stub",
            max_tokens=4,
            messages=HELLO,  # type: ignore[arg-type]
            thinking={"type": "enabled", "budget_tokens": 1024},
        )
    stranger = Anthropic(base_url=gateway, api_key="wrong", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(model="stub", max_tokens=4, messages=HELLO)  # type: ignore[arg-type]
    stranger.close()


def test_batch_of_messages(claude: Anthropic) -> None:
    requests = [
        {"custom_id": f"r{number}", "params": {"model": model, "max_tokens": 4, "messages": HELLO}}
        for number, model in enumerate(["stub", "stub", "nobody"])
    ]
    batch = claude.messages.batches.create(requests=requests)  # type: ignore[arg-type]
    assert batch.request_counts.processing == 3
    for _ in range(300):
        batch = claude.messages.batches.retrieve(batch.id)
        if batch.processing_status == "ended":
            break
        time.sleep(0.1)
    assert (batch.request_counts.succeeded, batch.request_counts.errored) == (2, 1)
    results = {result.custom_id: result.result for result in claude.messages.batches.results(batch.id)}
    assert {name: result.type for name, result in results.items()} == {
        "r0": "succeeded",
        "r1": "succeeded",
        "r2": "errored",
    }
    assert [listed.id for listed in claude.messages.batches.list()] == [batch.id]
    with pytest.raises(anthropic.APIStatusError):
        claude.messages.batches.cancel(batch.id)
