"""OpenAI Chat Completions: requests, chunks and whole completions.

Source: the API reference's "Chat Completions" and "Streaming" pages; `reasoning_content` is the
extension that DeepSeek began and most OpenAI-compatible servers share.
"""

from __future__ import annotations

from headwater import events as ev
from headwater.errors import RequestError
from headwater.events.snapshot import Snapshot
from headwater.generation import GenerationRequest
from headwater.wires.base import JSON, Fold, OnDisconnect, Schemas, Wire, WireOptions, dump
from headwater.wires.requests import chat_request, optional

FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "tool-calls": "tool_calls",
    "content-filter": "content_filter",
    "cancelled": "stop",
}


def usage_json(usage: ev.Usage) -> JSON:
    """Usage in this wire's members."""
    counted: JSON = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if isinstance(usage.reasoning_tokens, int):
        counted["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    if isinstance(usage.cached_tokens, int):
        counted["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return counted


class ChatFold(Fold):
    """Chunks; which index a tool call has, and the chunk's head, depend on what went before."""

    def __init__(self, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._head = b""  # up to the members of the choice's delta
        self._calls: dict[str, int] = {}

    def step(self, event: ev.Event, payload: bytes, id_line: bytes) -> bytes:
        if type(event) is ev.TextDelta:
            return b'%s%s{"content":%s},"finish_reason":null}]}\n\n' % (
                id_line,
                self._head,
                dump(event.text),
            )
        return self._other(event, id_line)

    def _other(self, event: ev.Event, id_line: bytes) -> bytes:
        match event:
            case ev.ReasoningDelta(text):
                return self._delta(id_line, {"reasoning_content": text})
            case ev.RefusalDelta(text):
                return self._delta(id_line, {"refusal": text})
            case ev.ToolCallStart(call, name):
                index = self._calls[call] = len(self._calls)
                function = {"name": name, "arguments": ""}
                return self._tool(
                    id_line,
                    {"index": index, "id": call, "type": "function", "function": function},
                )
            case ev.ToolCallDelta(call, arguments):
                return self._tool(
                    id_line,
                    {"index": self._calls.get(call, 0), "function": {"arguments": arguments}},
                )
            case ev.StreamStart(stream, model, created):
                self._begin(stream, model, created)
                return self._delta(id_line, {"role": "assistant", "content": ""})
            case ev.StreamEnd():
                return self._end(event, id_line)
            case ev.StreamError():
                body = {
                    "message": event.message,
                    "type": "server_error",
                    "param": None,
                    "code": event.code,
                }
                return b'data: {"error":%s}\n\n%sdata: [DONE]\n\n' % (dump(body), id_line)
        return b""

    def _begin(self, stream: str, model: str, created: int) -> None:
        members = dump(
            {
                "id": f"chatcmpl-{stream}",
                "object": "chat.completion.chunk",
                "created": created,
                "model": model,
            }
        )
        self._head = b"data: " + members[:-1] + b',"choices":[{"index":0,"delta":'

    def _delta(self, id_line: bytes, delta: JSON, finish_reason: str | None = None) -> bytes:
        return b'%s%s%s,"finish_reason":%s}]}\n\n' % (
            id_line,
            self._head,
            dump(delta),
            dump(finish_reason),
        )

    def _tool(self, id_line: bytes, call: JSON) -> bytes:
        return self._delta(id_line, {"tool_calls": [call]})

    def _end(self, event: ev.StreamEnd, id_line: bytes) -> bytes:
        frames = self._delta(b"", {}, FINISH_REASONS[event.reason])
        if self._include_usage and event.usage is not None:
            head = self._head[: self._head.index(b',"choices":')]
            frames += b'%s,"choices":[],"usage":%s}\n\n' % (head, dump(usage_json(event.usage)))
        return b"%s%sdata: [DONE]\n\n" % (frames, id_line)


class ChatOptions(WireOptions, frozen=True):
    """`include_usage`: whether a chunk with the usage comes before the end."""

    include_usage: bool = False


class ChatWire(Wire[ChatOptions]):
    """`POST /v1/chat/completions`."""

    name = "openai"
    path = "/v1/chat/completions"
    waits_for_first = True
    on_disconnect: OnDisconnect = "cancel"
    schemas = Schemas("ChatCompletionRequest", "ChatCompletion")
    defaults = ChatOptions()

    def parse(self, body: JSON) -> GenerationRequest:
        if "messages" not in body:
            raise RequestError("messages is missing.", param="messages")
        # OpenAI's default: an SDK that wants the answer whole leaves the member out.
        return chat_request(body, body["messages"], stream=False)

    def options(self, body: JSON) -> ChatOptions:
        stream_options = optional(body, "stream_options", dict) or {}
        return ChatOptions(bool(stream_options.get("include_usage")))

    def fold(self, options: ChatOptions) -> Fold:
        return ChatFold(options.include_usage)

    def whole(self, snapshot: Snapshot, options: ChatOptions) -> JSON:
        message: JSON = {
            "role": "assistant",
            "content": snapshot.text or (None if snapshot.tool_calls else ""),
            "refusal": snapshot.refusal or None,
        }
        if snapshot.reasoning:
            message["reasoning_content"] = snapshot.reasoning
        if snapshot.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.call,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in snapshot.tool_calls
            ]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": FINISH_REASONS[snapshot.reason or "stop"],
        }
        completion: JSON = {
            "id": f"chatcmpl-{snapshot.stream}",
            "object": "chat.completion",
            "created": snapshot.created,
            "model": snapshot.model,
            "choices": [choice],
        }
        if snapshot.usage is not None:
            completion["usage"] = usage_json(snapshot.usage)
        return completion


WIRE = ChatWire()
