"""Anthropic's Messages: frames, whole messages and errors; requests are in `anthropic_request`.

Source: the API reference's "Streaming Messages" and "Errors" pages. What a message of the
assistant has no place for (results of tools that ran beside the model, sources, files, data, steps,
data of other providers) makes no frame.
"""

from __future__ import annotations

from typing import Any, Final

from headwater import events as ev
from headwater.errors import STATUS, HeadwaterError, RequestError
from headwater.events.snapshot import Snapshot
from headwater.generation import GenerationRequest
from headwater.json_text import UNREADABLE, read_json
from headwater.wires.anthropic_request import PROVIDER, messages_request
from headwater.wires.base import JSON, Fold, OnDisconnect, Schemas, Wire, WireOptions, dump, with_id

STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool-calls": "tool_use",
    "content-filter": "refusal",
    "cancelled": "end_turn",
}
_ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "invalid_request_error",
    410: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}
_THINKING: Final[JSON] = {"type": "thinking", "thinking": "", "signature": ""}


def usage_json(usage: ev.Usage | None) -> JSON:
    """Usage in this wire's members; what was read from a cache is counted apart."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    cached = usage.cached_tokens if isinstance(usage.cached_tokens, int) else 0
    counted: JSON = {
        "input_tokens": max(0, usage.input_tokens - cached),
        "output_tokens": usage.output_tokens,
    }
    if cached:
        counted["cache_read_input_tokens"] = cached
    return counted


def message_json(stream: str, model: str) -> JSON:
    """A message that has not begun."""
    return {
        "id": f"msg_{stream}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_json(None),
    }


def frame(kind: str, members: JSON) -> bytes:
    """One event: the SDKs go by its name."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), dump({"type": kind, **members}))


class MessagesFold(Fold):
    """Blocks, one after another: which is open, and the index of each, depend on what went before.

    A fragment for a call whose block has been closed goes to that block by its index: SDKs take it
    there, and a lost fragment would be worse.
    """

    def __init__(self) -> None:
        self._count = 0
        self._open = ""  # the type of the block that is open
        self._calls: dict[str, int] = {}
        self._text_head = b""

    def step(self, event: ev.Event, payload: bytes, id_line: bytes) -> bytes:
        if type(event) is ev.TextDelta and self._open == "text":
            return b"%s%s%s}}\n\n" % (id_line, self._text_head, dump(event.text))
        return with_id(id_line, self._frames(event))

    def _frames(self, event: ev.Event) -> list[bytes]:
        match event:
            case ev.TextDelta(text) | ev.RefusalDelta(text):
                return [*self._enter_text(), self._delta({"type": "text_delta", "text": text})]
            case ev.ReasoningDelta(text):
                begun = self._enter(_THINKING)
                return [*begun, self._delta({"type": "thinking_delta", "thinking": text})]
            case ev.ToolCallStart(call, name):
                block = {"type": "tool_use", "id": call, "name": name, "input": {}}
                self._calls[call] = self._count
                return self._begin(block)
            case ev.ToolCallDelta(call, arguments):
                return self._arguments(call, arguments)
            case ev.ToolCallEnd(call):
                last = self._open == "tool_use" and self._calls.get(call) == self._count - 1
                return self._close() if last else []
            case ev.ProviderData():
                return self._provider_data(event) if event.provider == PROVIDER else []
            case ev.StreamStart(stream, model, _):
                return [frame("message_start", {"message": message_json(stream, model)})]
            case ev.StreamEnd():
                return self._end(event)
            case ev.StreamError():
                return [frame("error", {"error": failure_json(event.code, event.message)})]
        return []

    def _delta(self, delta: JSON, index: int | None = None) -> bytes:
        index = self._count - 1 if index is None else index
        return frame("content_block_delta", {"index": index, "delta": delta})

    def _begin(self, block: JSON) -> list[bytes]:
        closed = self._close()
        start = frame("content_block_start", {"index": self._count, "content_block": block})
        self._open = block["type"]
        self._count += 1
        return [*closed, start]

    def _close(self) -> list[bytes]:
        if not self._open:
            return []
        self._open = ""
        return [frame("content_block_stop", {"index": self._count - 1})]

    def _enter(self, block: JSON) -> list[bytes]:
        return [] if self._open == block["type"] else self._begin(block)

    def _enter_text(self) -> list[bytes]:
        frames = self._enter({"type": "text", "text": ""})
        if frames:
            head = self._delta({"type": "text_delta", "text": ""})
            self._text_head = head.removesuffix(b'""}}\n\n')
        return frames

    def _arguments(self, call: str, arguments: str) -> list[bytes]:
        index = self._calls.get(call)
        if index is None:  # of a call that never began
            return []
        return [self._delta({"type": "input_json_delta", "partial_json": arguments}, index)]

    def _provider_data(self, event: ev.ProviderData) -> list[bytes]:
        match event.part:
            case "signature":
                # SDKs keep one signature a block, so that what follows is another block.
                begun = self._enter(_THINKING)
                signed = self._delta({"type": "signature_delta", "signature": event.value})
                return [*begun, signed, *self._close()]
            case "redacted_thinking":
                begun = self._begin({"type": "redacted_thinking", "data": event.value})
                return [*begun, *self._close()]
            case "citation":
                begun = self._enter_text()
                return [*begun, self._delta({"type": "citations_delta", "citation": event.value})]
            case "block" if isinstance(event.value, dict) and event.value.get("type"):
                return [*self._begin(event.value), *self._close()]
        return []

    def _end(self, event: ev.StreamEnd) -> list[bytes]:
        delta = {"stop_reason": STOP_REASONS[event.reason], "stop_sequence": None}
        last = {"delta": delta, "usage": usage_json(event.usage)}
        return [*self._close(), frame("message_delta", last), frame("message_stop", {})]


def failure_json(code: str, message: str) -> JSON:
    """An error, by the type that SDKs know."""
    kind = "overloaded_error" if code == "overloaded" else _ERROR_TYPES.get(STATUS.get(code, 500))
    return {"type": kind or "api_error", "message": message}


class _Blocks:
    """The content of a whole message."""

    def __init__(self) -> None:
        self.blocks: list[JSON] = []
        #: Of each block by its id: the member that grows, and its pieces. They are joined at the
        #: end, because adding to a text copies it each time.
        self._growing: dict[int, tuple[JSON, str, list[str]]] = {}
        self._calls: dict[str, JSON] = {}

    def add(self, event: ev.Event) -> None:
        match event:
            case ev.TextDelta(text) | ev.RefusalDelta(text):
                self._add(self._last({"type": "text", "text": ""}), "text", text)
            case ev.ReasoningDelta(text):
                self._add(self._thinking(), "thinking", text)
            case ev.ToolCallStart(call, name):
                block = {"type": "tool_use", "id": call, "name": name, "input": ""}
                self._calls[call] = block
                self.blocks.append(block)
            case ev.ToolCallDelta(call, arguments) if call in self._calls:
                self._add(self._calls[call], "input", arguments)
            case ev.ProviderData(provider, part, value) if provider == PROVIDER:
                self._provider_data(part, value)

    def content(self) -> list[JSON]:
        """The blocks; the arguments of calls as values."""
        for block, member, pieces in self._growing.values():
            block[member] = "".join(pieces)
        for block in self.blocks:
            if block["type"] == "tool_use" and isinstance(block["input"], str):
                block["input"] = _value(block["input"])
        return self.blocks

    def _add(self, block: JSON, member: str, piece: str) -> None:
        growing = self._growing.get(id(block))
        if growing is None:
            begun = block.get(member)
            growing = (block, member, [begun] if isinstance(begun, str) else [])
            self._growing[id(block)] = growing
        growing[2].append(piece)

    def _last(self, block: JSON) -> JSON:
        if not self.blocks or self.blocks[-1]["type"] != block["type"]:
            self.blocks.append(block)
        return self.blocks[-1]

    def _thinking(self) -> JSON:
        last = self._last(dict(_THINKING))
        if last["signature"]:
            last = dict(_THINKING)
            self.blocks.append(last)
        return last

    def _provider_data(self, part: str, value: Any) -> None:
        match part:
            case "signature":
                self._thinking()["signature"] = value
            case "redacted_thinking":
                self.blocks.append({"type": "redacted_thinking", "data": value})
            case "citation":
                block = self._last({"type": "text", "text": ""})
                block.setdefault("citations", []).append(value)
            case "block" if isinstance(value, dict) and value.get("type"):
                self.blocks.append(value)


def _value(arguments: str) -> Any:
    try:
        return read_json(arguments or "{}")
    except (*UNREADABLE, RequestError):  # a model may write anything
        return arguments


class MessagesWire(Wire[WireOptions]):
    """`POST /v1/messages`."""

    name = "anthropic"
    path = "/v1/messages"
    heartbeat = b'event: ping\ndata: {"type":"ping"}\n\n'
    waits_for_first = True
    on_disconnect: OnDisconnect = "cancel"
    # Anthropic's SDKs look for it there.
    request_id_header = b"request-id"
    schemas = Schemas("MessageRequest", "Message", error="MessagesError")
    defaults = WireOptions()

    def parse(self, body: JSON) -> GenerationRequest:
        return messages_request(body)

    def fold(self, options: WireOptions) -> Fold:
        return MessagesFold()

    def whole(self, snapshot: Snapshot, options: WireOptions) -> JSON:
        blocks = _Blocks()
        for event in snapshot.events:
            blocks.add(event)
        return {
            **message_json(snapshot.stream, snapshot.model),
            "content": blocks.content(),
            "stop_reason": STOP_REASONS[snapshot.reason or "stop"],
            "usage": usage_json(snapshot.usage),
        }

    def error(self, error: HeadwaterError, request_id: str) -> JSON:
        failure = failure_json(error.code, error.message)
        return {"type": "error", "error": failure, "request_id": request_id}


WIRE = MessagesWire()
