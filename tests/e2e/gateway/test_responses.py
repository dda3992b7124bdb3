"""Background responses and stored answers, through the official client."""

import time
from collections.abc import Callable

import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response


def ended(client: OpenAI, response: Response, within_s: float = 60) -> Response:
    """Wait for a response; on a busy machine, real-time calls that were slow hold it back for a while."""
    give_up_s = time.monotonic() + within_s
    while (now := client.responses.retrieve(response.id)).status in {"queued", "in_progress"}:
        assert time.monotonic() < give_up_s, now
        time.sleep(0.05)
    return now


def background(client: OpenAI, **more: object) -> Response:
    fields: dict[str, object] = {"model": "stub", "input": "hello", "background": True, "max_output_tokens": 3}
    return client.responses.create(**(fields | more))  # type: ignore[call-overload, no-any-return]


def test_background_response_completes(client: OpenAI) -> None:
    response = background(client, metadata={"a": "b"}, background_options={"completion_window": "2h"})
    assert (response.status, response.background, response.metadata) == ("queued", True, {"a": "b"})
    done = ended(client, response)
    assert (done.status, done.id) == ("completed", response.id)
    assert done.output_text.startswith("merit order")
    items = client.responses.input_items.list(response.id).data
    assert [item.content[0].text for item in items] == ["hello"]  # type: ignore[union-attr]
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_failed_background_response(client: OpenAI) -> None:
    done = ended(client, background(client, input="fault:400"))
    assert done.status == "failed"
    assert done.error is not None
    assert done.error.message == "fault 400"


def test_background_response_is_cancelled(client: OpenAI, make_client: Callable[..., OpenAI]) -> None:
    stranger = make_client("--tenant", "stranger")
    response = background(client, max_output_tokens=4000)
    with pytest.raises(openai.NotFoundError):
        stranger.responses.cancel(response.id)
    assert client.responses.cancel(response.id).status == "cancelled"
    assert client.responses.cancel(response.id).status == "cancelled"  # again
    assert client.responses.retrieve(response.id).status == "cancelled"


def test_responses_stored_by_default(client: OpenAI) -> None:
    response = client.responses.create(model="stub", input="hello")
    time.sleep(0.3)  # it is written once it was answered
    assert client.responses.retrieve(response.id).output_text == response.output_text
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        client.responses.cancel(response.id)
    client.responses.delete(response.id)
    client.responses.create(model="stub", input="hello", store=False)
    time.sleep(0.3)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_completions_stored_on_request(make_client: Callable[..., OpenAI]) -> None:
    client = make_client("--tenant", "keeps")
    asked = [{"role": "user", "content": "hello"}]
    made = client.chat.completions.create(model="stub", messages=asked, store=True, metadata={"k": "1"})  # type: ignore[call-overload]
    time.sleep(0.3)
    kept = client.chat.completions.retrieve(made.id)
    assert kept.choices[0].message.content == made.choices[0].message.content
    assert [completion.id for completion in client.chat.completions.list(metadata={"k": "1"})] == [made.id]
    assert list(client.chat.completions.list(metadata={"k": "2"})) == []
    assert client.chat.completions.update(made.id, metadata={"k": "2"}).metadata == {"k": "2"}  # type: ignore[attr-defined]
    assert [message.content for message in client.chat.completions.messages.list(made.id)] == ["hello"]
    assert client.chat.completions.delete(made.id).deleted
    assert list(client.chat.completions.list()) == []
    client.chat.completions.create(model="stub", messages=asked)  # type: ignore[arg-type]
    time.sleep(0.3)
    assert list(client.chat.completions.list()) == []


@pytest.mark.parametrize(
    "wrong", [{"store": False}, {"background_options": {"completion_window": "eventually"}}, {"model": "nobody"}]
)
def test_invalid_background_is_refused(client: OpenAI, wrong: dict[str, object]) -> None:
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)):
        background(client, **wrong)


def test_response_goes_on_from_another(client: OpenAI, make_client: Callable[..., OpenAI]) -> None:
    first = client.responses.create(model="stub", input="hello")
    second = client.responses.create(model="stub", input="and more", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    queued = background(client, previous_response_id=second.id)
    assert ended(client, queued).previous_response_id == second.id
    with pytest.raises(openai.BadRequestError, match="not found"):
        make_client("--tenant", "nosy").responses.create(model="stub", input="x", previous_response_id=first.id)


def test_conversation_collects_responses(client: OpenAI) -> None:
    conversation = client.conversations.create(items=[{"role": "user", "content": "my name is Ada"}])
    response = client.responses.create(model="stub", input="hello", conversation=conversation.id)
    assert response.conversation is not None
    assert response.conversation.id == conversation.id
    done = ended(client, background(client, conversation=conversation.id))
    assert done.status in {"completed", "incomplete"}
    items = client.conversations.items.list(conversation.id, order="asc").data
    assert [item.role for item in items] == ["user", "user", "assistant", "user", "assistant"]  # type: ignore[union-attr]


@pytest.mark.parametrize("model", ["nobody"])
def test_unknown_model_is_bad_request(client: OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=model, input="hello")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
