"""Translates the chunks of a streamed chat completion to the events of a response."""

from dataclasses import dataclass, field
from typing import Any

from meritorder.gateway.upstreams.dialects.fields import Json
from meritorder.gateway.upstreams.responses import answer
from meritorder.gateway.upstreams.responses.answer import ResponseDraft


@dataclass(slots=True, kw_only=True)
class _OpenItem:
    """The item that the stream is writing.

    Args:
        item: The item as announced.
        kind: What its deltas are: `output_text`, `refusal`, `reasoning_text` or `function_call_arguments`.
        call_index: Index of a function call among the calls of the answer.
    """

    item: Json
    kind: str
    call_index: int | None = None
    texts: list[str] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)


class ResponseEvents:
    """The events of one response, without their sequence numbers.

    Args:
        draft: The response to fill.
    """

    def __init__(self, draft: ResponseDraft) -> None:
        self.draft = draft
        self.ended = False
        self._open: _OpenItem | None = None
        self._has_begun = False

    def feed(self, chunk: Json) -> list[Json]:
        """Return the events of a chunk.

        Raises:
            KeyError, TypeError: The chunk violates the API's contract.
        """
        events = self._begin()
        if error := chunk.get("error"):
            message = error.get("message") if isinstance(error, dict) else str(error)
            self.draft.error = {"code": "server_error", "message": message or "The request failed."}
            return [*events, *self.end()]
        self.draft.model = chunk.get("model") or self.draft.model
        self.draft.usage = answer.to_usage(chunk.get("usage")) or self.draft.usage
        for choice in (chunk.get("choices") or ())[:1]:
            delta = choice.get("delta") or {}
            if thoughts := answer.reasoning_of(delta):
                events += self._write("reasoning_text", thoughts)
            if text := delta.get("content"):
                events += self._write("output_text", text, logprobs=answer.to_logprobs(choice.get("logprobs")))
            if refusal := delta.get("refusal"):
                events += self._write("refusal", refusal)
            for call in delta.get("tool_calls") or ():
                events += self._write_call(call)
            self.draft.finish_reason = choice.get("finish_reason") or self.draft.finish_reason
        return events

    def end(self) -> list[Json]:
        """Return the last events."""
        events = self._begin()
        if not self.draft.output and self._open is None and self.draft.error is None:
            events += self._start("output_text")  # an answer has at least one item
        events += self._close()
        status = self.draft.final_status()
        self.ended = True
        return [*events, {"type": f"response.{status}", "response": self.draft.to_json(status)}]

    def _begin(self) -> list[Json]:
        if self._has_begun:
            return []
        self._has_begun = True
        begun = self.draft.to_json("in_progress")
        return [{"type": kind, "response": begun} for kind in ("response.created", "response.in_progress")]

    def _write(self, kind: str, text: str, *, logprobs: list[Any] | None = None) -> list[Json]:
        """Write text of a kind; close another kind before."""
        events = [] if self._open is not None and self._open.kind == kind else [*self._close(), *self._start(kind)]
        assert self._open is not None  # noqa: S101 - it was started
        self._open.texts.append(text)
        delta: Json = {"type": f"response.{kind}.delta", **self._at(), "delta": text}
        if kind == "output_text":
            self._open.logprobs += logprobs or []
            delta["logprobs"] = logprobs or []
        return [*events, delta]

    def _write_call(self, call: Json) -> list[Json]:
        index, function = call.get("index", 0), call.get("function") or {}
        events: list[Json] = []
        if self._open is None or self._open.call_index != index:
            events += self._close()
            call_id = call.get("id") or answer.new_id("call_")
            item = answer.call_item(answer.new_id("fc_"), call_id, function["name"], "", status="in_progress")
            events += self._announce(_OpenItem(item=item, kind="function_call_arguments", call_index=index))
        assert self._open is not None  # noqa: S101 - it was announced
        if arguments := function.get("arguments"):
            self._open.texts.append(arguments)
            events.append({"type": "response.function_call_arguments.delta", **self._item_at(), "delta": arguments})
        return events

    def _start(self, kind: str) -> list[Json]:
        if kind == "reasoning_text":
            item = answer.reasoning_item(answer.new_id("rs_"), "", status="in_progress")
        else:
            item = answer.message_item(answer.new_id("msg_"), None, status="in_progress")
        announced = self._announce(_OpenItem(item=item, kind=kind))
        return [*announced, {"type": "response.content_part.added", **self._at(), "part": self._part("", [])}]

    def _announce(self, opened: _OpenItem) -> list[Json]:
        self._open = opened
        return [{"type": "response.output_item.added", "output_index": len(self.draft.output), "item": opened.item}]

    def _close(self) -> list[Json]:
        """Return the events that end the open item, and add it to the output."""
        opened = self._open
        if opened is None:
            return []
        text, at = "".join(opened.texts), self._at()
        if opened.kind == "function_call_arguments":
            item = {**opened.item, "arguments": text, "status": "completed"}
            done = {"arguments": text, "name": item["name"]}
            events: list[Json] = [{"type": "response.function_call_arguments.done", **self._item_at(), **done}]
        else:
            part = self._part(text, opened.logprobs)
            status = "completed" if opened.kind == "reasoning_text" else self.draft.item_status()
            item = {**opened.item, "content": [part], "status": status}
            name = "refusal" if opened.kind == "refusal" else "text"
            more = {"logprobs": opened.logprobs} if opened.kind == "output_text" else {}
            events = [
                {"type": f"response.{opened.kind}.done", **at, name: text, **more},
                {"type": "response.content_part.done", **at, "part": part},
            ]
        events.append({"type": "response.output_item.done", "output_index": len(self.draft.output), "item": item})
        self.draft.output.append(item)
        self._open = None
        return events

    def _part(self, text: str, logprobs: list[Any]) -> Json:
        kind = self._open.kind if self._open else ""
        if kind == "output_text":
            return answer.text_part(text, logprobs)
        return answer.refusal_part(text) if kind == "refusal" else {"type": kind, "text": text}

    def _item_at(self) -> Json:
        item = self._open.item if self._open else {}
        return {"item_id": item.get("id"), "output_index": len(self.draft.output)}

    def _at(self) -> Json:
        return {**self._item_at(), "content_index": 0}
