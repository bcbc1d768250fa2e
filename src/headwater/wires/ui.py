"""The AI SDK's UI message stream, version 1: frames and whole messages for `useChat`.

Source: the AI SDK's page "Stream Protocols" and its schema of chunks, which throws at a type that
it does not know. Requests are in `ui_request`. A message keeps what only a provider understands in
a data part of its own, so that the next turn brings it back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from headwater import events as ev
from headwater.errors import RequestError
from headwater.events.snapshot import Snapshot
from headwater.generation import GenerationRequest
from headwater.json_text import UNREADABLE, read_json
from headwater.wires.base import JSON, Fold, Schemas, Wire, WireOptions, dump, with_id
from headwater.wires.ui_request import PROVIDER_DATA, chat_request

_DONE = b"data: [DONE]\n\n"


class UIFold(Fold):
    """Chunks; which text is open, and what a call's arguments are, depend on what went before.

    `message` is the message that the answer continues; without it the answer is a new one.
    """

    def __init__(self, message: str = "") -> None:
        self._message = message
        self._parts = 0
        self._open = ""  # "text", "reasoning", or nothing
        self._step = False
        self._names: dict[str, str] = {}  # of every call so far
        self._arguments: dict[str, list[str]] = {}  # of those that are open
        self._sources = 0
        self._text_head = b""

    def step(self, event: ev.Event, payload: bytes, id_line: bytes) -> bytes:
        if type(event) is ev.TextDelta and self._open == "text":
            return b"%s%s%s}\n\n" % (id_line, self._text_head, dump(event.text))
        done = type(event) in (ev.StreamEnd, ev.StreamError)
        frames = [b"data: %s\n\n" % dump(chunk) for chunk in self.chunks(event)]
        return with_id(id_line, [*frames, _DONE] if done else frames)

    def chunks(self, event: ev.Event) -> list[JSON]:
        """The chunks of one event."""
        match event:
            case ev.TextDelta(text) | ev.RefusalDelta(text):
                return self._say("text", text)
            case ev.ReasoningDelta(text):
                return self._say("reasoning", text)
            case ev.ToolCallStart() | ev.ToolCallDelta() | ev.ToolCallEnd() | ev.ToolResult():
                return self._tool(event)
            case ev.StreamStart(stream, _, _):
                return [{"type": "start", "messageId": self._message or f"msg_{stream}"}]
            case ev.StepStart():
                return [*self._end_calls(), *self._end_step(), *self._enter_step()]
            case ev.StepEnd():
                return [*self._end_calls(), *self._end_step()]
            case ev.StreamEnd("cancelled", _, _):
                stopped = {"type": "abort", "reason": "The stream was stopped."}
                return [*self._end_step(), stopped]
            case ev.StreamEnd(reason, _, _):
                finish = {"type": "finish", "finishReason": reason}
                return [*self._end_calls(), *self._end_step(), finish]
            case ev.StreamError():
                return [*self._end_step(), {"type": "error", "errorText": event.message}]
            case ev.Unknown():
                return []
            case _:
                return [*self._enter_step(), self._beside(event)]

    def _beside(self, event: ev.Event) -> JSON:
        """A chunk that is a part of its own."""
        match event:
            case ev.Citation(url, title):
                self._sources += 1
                source = {"type": "source-url", "sourceId": f"source_{self._sources}", "url": url}
                return source if title is None else {**source, "title": title}
            case ev.File(media_type, url):
                return {"type": "file", "mediaType": media_type, "url": url}
            case ev.Data(name, value, transient):
                chunk = {"type": f"data-{name}", "data": value}
                return {**chunk, "transient": True} if transient is True else chunk
            case ev.ProviderData(provider, part, value):
                data = {"provider": provider, "part": part, "value": value}
                return {"type": PROVIDER_DATA, "data": data}
        assert isinstance(event, ev.StreamRepair)  # noqa: S101 - the last kind that is left
        seam = {"reason": event.reason, "from": event.from_}
        return {"type": "data-stream-repair", "data": seam, "transient": True}

    # steps and texts

    def _enter_step(self) -> list[JSON]:
        if self._step:
            return []
        self._step = True
        return [{"type": "start-step"}]

    def _end_step(self) -> list[JSON]:
        chunks = self._end_part()
        if self._step:
            self._step = False
            chunks.append({"type": "finish-step"})
        return chunks

    def _say(self, kind: str, text: str) -> list[JSON]:
        chunks: list[JSON] = []
        if self._open != kind:
            chunks = [*self._end_part(), *self._enter_step()]
            self._open = kind
            self._parts += 1
            chunks.append({"type": f"{kind}-start", "id": str(self._parts)})
            head: JSON = {"type": "text-delta", "id": str(self._parts), "delta": ""}
            self._text_head = b"data: " + dump(head).removesuffix(b'""}')
        return [*chunks, {"type": f"{kind}-delta", "id": str(self._parts), "delta": text}]

    def _end_part(self) -> list[JSON]:
        if not self._open:
            return []
        kind, self._open = self._open, ""
        return [{"type": f"{kind}-end", "id": str(self._parts)}]

    # tools

    def _tool(self, event: ev.Event) -> list[JSON]:
        match event:
            case ev.ToolCallStart(call, name):
                chunks = [*self._end_call(call), *self._end_part(), *self._enter_step()]
                self._names[call] = name
                self._arguments[call] = []
                start = {"type": "tool-input-start", "toolCallId": call, "toolName": name}
                return [*chunks, start]
            case ev.ToolCallDelta(call, arguments) if call in self._arguments:
                self._arguments[call].append(arguments)
                delta = {"toolCallId": call, "inputTextDelta": arguments}
                return [{"type": "tool-input-delta", **delta}]
            case ev.ToolCallEnd(call):
                return self._end_call(call)
            case ev.ToolResult(call, output) if call in self._names:
                answer = {"type": "tool-output-available", "toolCallId": call, "output": output}
                return [*self._end_call(call), answer]
        return []  # of a call that never began: a client would throw at it

    def _end_calls(self) -> list[JSON]:
        """A client looks for a call's end in the step in which it began."""
        return [chunk for call in list(self._arguments) for chunk in self._end_call(call)]

    def _end_call(self, call: str) -> list[JSON]:
        pieces = self._arguments.pop(call, None)
        if pieces is None:
            return []
        raw = "".join(pieces)
        chunk: JSON = {"toolCallId": call, "toolName": self._names[call]}
        try:
            value = read_json(raw or "{}")
        except (*UNREADABLE, RequestError):  # a model may write anything
            problem = "The arguments are not JSON, or nested too deeply."
            return [{"type": "tool-input-error", **chunk, "input": raw, "errorText": problem}]
        return [{"type": "tool-input-available", **chunk, "input": value}]


class _Message:
    """The parts of a whole message, as a client puts them together from chunks."""

    def __init__(self) -> None:
        self.parts: list[JSON] = []
        self._text: list[str] = []  # the pieces of the text that is open
        self._texts: list[tuple[JSON, list[str]]] = []
        self._tools: dict[str, JSON] = {}

    def finish(self) -> list[JSON]:
        """The parts. Their texts are joined here: adding to a text copies it each time."""
        for part, pieces in self._texts:
            part["text"] = "".join(pieces)
        return self.parts

    def add(self, chunk: JSON) -> None:
        kind = chunk["type"]
        if kind in ("text-start", "reasoning-start"):
            self._text = []
            part = {"type": kind.removesuffix("-start"), "text": "", "state": "done"}
            self._texts.append((part, self._text))
            self.parts.append(part)
        elif kind in ("text-delta", "reasoning-delta"):
            self._text.append(chunk["delta"])  # other parts may stand behind it
        elif kind == "start-step":
            self.parts.append({"type": "step-start"})
        elif kind.startswith("tool-"):
            self._tool(kind, chunk)
        elif kind.startswith(("source-url", "file", "data-")) and not chunk.get("transient"):
            self.parts.append(chunk)

    def _tool(self, kind: str, chunk: JSON) -> None:
        call = chunk["toolCallId"]
        if kind == "tool-input-start":
            part = {"type": f"tool-{chunk['toolName']}", "toolCallId": call}
            self._tools[call] = part
            self.parts.append(part)
        elif kind == "tool-input-available":
            self._tools[call] |= {"state": "input-available", "input": chunk["input"]}
        elif kind == "tool-input-error":
            failed = {"state": "output-error", "rawInput": chunk["input"]}
            self._tools[call] |= {**failed, "errorText": chunk["errorText"]}
        elif kind == "tool-output-available":
            self._tools[call] |= {"state": "output-available", "output": chunk["output"]}


class UIOptions(WireOptions, frozen=True):
    """`message`: the id of the message that is continued, if any.

    `request`: a digest that tells the requests of one chat apart.
    """

    message: str = ""
    request: str = ""


class UIWire(Wire[UIOptions]):
    """`POST /api/chat`."""

    name = "ui"
    path = "/api/chat"
    headers: Mapping[str, str] = {"x-vercel-ai-ui-message-stream": "v1"}
    schemas = Schemas("UIRequest", "UIMessage")
    defaults = UIOptions()

    def parse(self, body: JSON) -> GenerationRequest:
        return chat_request(body)

    def chat(self, body: JSON) -> str | None:
        chat: str | None = body.get("id")
        return chat

    def options(self, body: JSON) -> UIOptions:
        last = body["messages"][-1]
        message = last.get("id") if last["role"] == "assistant" else None
        canonical = msgspec.json.encode(body, order="deterministic")
        request = hashlib.blake2b(canonical, digest_size=16).hexdigest()
        return UIOptions(message if isinstance(message, str) else "", request)

    def fold(self, options: UIOptions) -> Fold:
        return UIFold(options.message)

    def whole(self, snapshot: Snapshot, options: UIOptions) -> JSON:
        fold, whole = UIFold(), _Message()
        for event in (*snapshot.events, ev.StepEnd()):  # which ends what is open
            for chunk in fold.chunks(event):
                whole.add(chunk)
        message = options.message or f"msg_{snapshot.stream}"
        return {"id": message, "role": "assistant", "parts": whole.finish()}


WIRE = UIWire()
