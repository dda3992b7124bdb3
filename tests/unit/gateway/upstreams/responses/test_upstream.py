"""Venues with and without responses."""

import asyncio
import json
from typing import Any

import pytest
from tests.samples.http_server import Asked, LocalServer, Wire

from meritorder.gateway.errors import BrokenAnswerError
from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.openai import OpenAIUpstream, OpenAIVenue
from meritorder.gateway.upstreams.responses.upstream import ResponsesApi, ResponsesUpstream
from meritorder.gateway.upstreams.upstream import Call

COMPLETION = {
    "id": "c",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
}
CHUNKS = [{"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}]


class Venue:
    """A server whose `/v1/responses` answers as prescribed; its chat completions work."""

    def __init__(self, status: int, answer: dict[str, Any], *, breaks: bool = False) -> None:
        self.status, self.answer, self.breaks = status, answer, breaks
        self.paths: list[str] = []

    async def serve(self, asked: Asked, wire: Wire) -> None:
        self.paths.append(asked.path)
        if asked.path == "/v1/responses":
            await wire.answer(self.answer, self.status)
        elif not asked.json.get("stream"):
            await wire.answer(COMPLETION)
        else:
            await wire.begin()
            for chunk in CHUNKS:
                await wire.event(chunk)
            if not self.breaks:
                await wire.part(b"data: [DONE]\n\n")
            await wire.end()


def ask(venue: Venue, api: ResponsesApi, *, times: int = 1, stream: bool = False) -> tuple[int, bytes]:
    async def run() -> tuple[int, bytes]:
        async with LocalServer(venue.serve) as server:
            bare = OpenAIUpstream(OpenAIVenue(endpoint=Endpoint(name="v", base_url=f"{server.url}/v1")))
            upstream = ResponsesUpstream(bare, api)
            body = json.dumps({"model": "m", "input": "x", "stream": stream}).encode()
            try:
                for _ in range(times):
                    reply = await upstream.send(Call(path="/v1/responses", body=body, stream=stream, model="m"))
                    answer = b"".join([part async for part in reply.body])
                    await reply.close()
                return reply.status, answer
            finally:
                await upstream.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    "answer", [{"detail": "Not Found"}, {"error": {"message": "Not Found", "code": 404}}, {"error": "File Not Found"}]
)
def test_venue_without_responses_is_noticed_once(answer: dict[str, Any]) -> None:
    venue = Venue(404, answer)
    status, body = ask(venue, ResponsesApi.AUTO, times=2)
    assert (status, json.loads(body)["output"][0]["content"][0]["text"]) == (200, "hi")
    assert venue.paths == ["/v1/responses", "/v1/chat/completions", "/v1/chat/completions"]


def test_unknown_model_is_no_missing_path() -> None:
    venue = Venue(404, {"error": {"message": "The model `m` does not exist."}})
    status, body = ask(venue, ResponsesApi.AUTO)
    assert (status, venue.paths) == (404, ["/v1/responses"])
    assert b"does not exist" in body


def test_own_responses_are_passed_through() -> None:
    assert json.loads(ask(Venue(200, {"id": "theirs"}), ResponsesApi.AUTO)[1]) == {"id": "theirs"}
    assert ask(Venue(404, {"detail": "Not Found"}), ResponsesApi.NATIVE)[0] == 404


def test_broken_stream_is_an_error() -> None:
    with pytest.raises(BrokenAnswerError):
        ask(Venue(200, {}, breaks=True), ResponsesApi.CHAT, stream=True)


def test_streamed_events_are_numbered() -> None:
    _, body = ask(Venue(200, {}), ResponsesApi.CHAT, stream=True)
    events = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: ")]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.completed"
