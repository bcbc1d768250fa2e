"""AG-UI: the events of a run, and its messages whole. Requests are in `agui_request`.

Source: AG-UI's page "Events", and its client, which throws at a member that is null and at a
`[DONE]`. What only a provider understands goes into the encrypted value of a reasoning message,
which the client keeps and sends back.
"""

from __future__ import annotations

from headwater import events as ev
from headwater.events.snapshot import Snapshot
from headwater.generation import GenerationRequest
from headwater.wires.agui_request import run_request
from headwater.wires.base import JSON, Fold, OnDisconnect, Schemas, Wire, WireOptions, dump, with_id
from headwater.wires.members import compact


def usage_json(usage: ev.Usage | None) -> JSON:
    """The member `usage`, where there is something to count."""
    if usage is None:
        return {}
    counted: JSON = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.input_tokens + usage.output_tokens,
    }
    if isinstance(usage.reasoning_tokens, int):
        counted["reasoningTokens"] = usage.reasoning_tokens
    if isinstance(usage.cached_tokens, int):
        counted["cachedInputTokens"] = usage.cached_tokens
    return {"usage": [counted]}


class RunFold(Fold):
    """Which message, reasoning, calls and steps are open depends on what went before."""

    def __init__(self, thread: str = "", run: str = "") -> None:
        self._thread = thread
        self._run = run
        self._stream = ""
        self._messages = 0
        self._text = ""  # the id of the message that is open
        self._reasoning = ""  # that of the reasoning that is open
        self._parent = ""  # that of the message that calls belong to
        #: Provider data that is not sent yet, by the message that keeps it.
        self._kept: dict[str, list[JSON]] = {}
        self._calls: dict[str, None] = {}  # those that are open, in order
        self._steps: list[str] = []
        self._steps_begun = 0
        self._results = 0
        self._text_head = b""

    def step(self, event: ev.Event, payload: bytes, id_line: bytes) -> bytes:
        if type(event) is ev.TextDelta and self._text and event.text:
            return b"%s%s%s}\n\n" % (id_line, self._text_head, dump(event.text))
        return with_id(id_line, [b"data: %s\n\n" % dump(each) for each in self._events(event)])

    def _events(self, event: ev.Event) -> list[JSON]:
        match event:
            case ev.TextDelta(text) | ev.RefusalDelta(text):
                return self._say(text)
            case ev.ReasoningDelta(text):
                content = {"type": "REASONING_MESSAGE_CONTENT", "delta": text}
                # The client refuses a piece that is empty.
                begun = self._enter_reasoning()
                return [*begun, {**content, "messageId": self._reasoning}] if text else begun
            case ev.ToolCallStart() | ev.ToolCallDelta() | ev.ToolCallEnd() | ev.ToolResult():
                return self._tool(event)
            case ev.StepStart():
                return self._begin_step()
            case ev.StepEnd():
                return [*self._close(), *self._end_step()]
            case ev.ProviderData():
                return self._keep(event)
            case ev.StreamStart():
                return [self._begin(event)]
            case ev.StreamEnd():
                return self._end(event)
            case ev.StreamError(code, message, _, usage, _):
                failed = {"type": "RUN_ERROR", "message": message, "code": code}
                return [*self._seal_all(), {**failed, **usage_json(usage)}]
            case ev.Unknown():
                return []
            case _:
                return [_custom(event)]

    def _begin(self, event: ev.StreamStart) -> JSON:
        self._stream = event.stream
        thread, run = self._thread or event.stream, self._run or event.stream
        return {"type": "RUN_STARTED", "threadId": thread, "runId": run}

    def _end(self, event: ev.StreamEnd) -> list[JSON]:
        counted = usage_json(event.usage)
        if event.reason == "cancelled":
            stopped = {"message": "The run was stopped.", "code": "aborted", **counted}
            return [*self._close(), *self._seal_all(), {"type": "RUN_ERROR", **stopped}]
        frames = [*self._close(), *self._seal_all()]
        for call in list(self._calls):
            frames += self._end_call(call)
        while self._steps:
            frames += self._end_step()
        thread, run = self._thread or self._stream, self._run or self._stream
        return [*frames, {"type": "RUN_FINISHED", "threadId": thread, "runId": run, **counted}]

    # messages

    def _name(self) -> str:
        self._messages += 1
        return f"msg_{self._stream}_{self._messages}"

    def _say(self, text: str) -> list[JSON]:
        if not text:  # the client refuses a piece that is empty
            return []
        events: list[JSON] = []
        if not self._text:
            events = [*self._close(), *self._leave_parent()]
            self._text = self._parent = self._name()
            begin = {"messageId": self._text, "role": "assistant"}
            events.append({"type": "TEXT_MESSAGE_START", **begin})
            head = {"type": "TEXT_MESSAGE_CONTENT", "messageId": self._text, "delta": ""}
            self._text_head = b"data: " + dump(head).removesuffix(b'""}')
        content = {"type": "TEXT_MESSAGE_CONTENT", "messageId": self._text, "delta": text}
        return [*events, content]

    def _enter_reasoning(self) -> list[JSON]:
        if self._reasoning:
            return []
        events = self._close()
        self._reasoning = self._name()
        message = {"messageId": self._reasoning}
        begin = {"type": "REASONING_MESSAGE_START", **message, "role": "reasoning"}
        return [*events, {"type": "REASONING_START", **message}, begin]

    def _keep(self, event: ev.ProviderData) -> list[JSON]:
        """Keep the data for its message, which is what is open or was said last.

        So no message comes between a call and its result. The client holds one value a message,
        the last that was sent. The value is sent once, when nothing more can belong to the message:
        sent with each piece of data, it would make the frames grow with the square of the log.
        """
        entity, events = self._reasoning or self._parent, []
        if not entity:
            events = self._enter_reasoning()
            entity = self._reasoning
        self._kept.setdefault(entity, []).append(_kept(event))
        return events

    def _seal(self, entity: str) -> list[JSON]:
        """Send the encrypted value of a message to which nothing more can belong."""
        kept = self._kept.pop(entity, None)
        if kept is None:
            return []
        value = {"entityId": entity, "encryptedValue": dump(kept).decode()}
        return [{"type": "REASONING_ENCRYPTED_VALUE", "subtype": "message", **value}]

    def _seal_all(self) -> list[JSON]:
        return [event for entity in list(self._kept) for event in self._seal(entity)]

    def _leave_parent(self) -> list[JSON]:
        events, self._parent = self._seal(self._parent), ""
        return events

    def _close(self) -> list[JSON]:
        """End the text or the reasoning that is open."""
        events = []
        if self._text:
            events = [{"type": "TEXT_MESSAGE_END", "messageId": self._text}]
        elif self._reasoning:
            message = {"messageId": self._reasoning}
            ends = ("REASONING_MESSAGE_END", "REASONING_END")
            events = [*self._seal(self._reasoning), *({"type": kind, **message} for kind in ends)]
        self._text = self._reasoning = ""
        return events

    # tools

    def _tool(self, event: ev.Event) -> list[JSON]:
        match event:
            case ev.ToolCallStart(call, name):
                events = [*self._end_call(call), *self._close()]
                self._calls[call] = None
                self._parent = self._parent or self._name()
                start = {"type": "TOOL_CALL_START", "toolCallId": call, "toolCallName": name}
                return [*events, {**start, "parentMessageId": self._parent}]
            case ev.ToolCallDelta(call, arguments) if call in self._calls and arguments:
                return [{"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": arguments}]
            case ev.ToolCallEnd(call):
                return self._end_call(call)
            case ev.ToolResult(call, output):
                # What is said now follows the result.
                events = [*self._end_call(call), *self._close(), *self._leave_parent()]
                self._results += 1
                message = f"result_{self._stream}_{self._results}"
                result = {"messageId": message, "toolCallId": call, "content": compact(output)}
                return [*events, {"type": "TOOL_CALL_RESULT", **result, "role": "tool"}]
        return []  # of a call that is not open: the client would throw at it

    def _end_call(self, call: str) -> list[JSON]:
        if call not in self._calls:
            return []
        del self._calls[call]
        return [{"type": "TOOL_CALL_END", "toolCallId": call}]

    # steps

    def _begin_step(self) -> list[JSON]:
        events = [*self._close(), *self._leave_parent()]
        self._steps_begun += 1
        self._steps.append(f"step-{self._steps_begun}")
        return [*events, {"type": "STEP_STARTED", "stepName": self._steps[-1]}]

    def _end_step(self) -> list[JSON]:
        if not self._steps:
            return []
        return [{"type": "STEP_FINISHED", "stepName": self._steps.pop()}]


def _kept(event: ev.ProviderData) -> JSON:
    return {"provider": event.provider, "part": event.part, "value": event.value}


def _custom(event: ev.Event) -> JSON:
    """What AG-UI has no event for; absent where it would be null."""
    match event:
        case ev.Data(name, value, _):
            custom = {"type": "CUSTOM", "name": name}
            return custom if value is None else {**custom, "value": value}
        case ev.Citation(url, title):
            source = {"url": url} if title is None else {"url": url, "title": title}
            return {"type": "CUSTOM", "name": "source", "value": source}
        case ev.File(media_type, url):
            file = {"mediaType": media_type, "url": url}
            return {"type": "CUSTOM", "name": "file", "value": file}
    assert isinstance(event, ev.StreamRepair)  # noqa: S101 - the last kind that is left
    seam = {"reason": event.reason, "from": event.from_}
    return {"type": "CUSTOM", "name": "stream-repair", "value": seam}


class RunOptions(WireOptions, frozen=True):
    """The names that the run has for its client."""

    thread: str = ""
    run: str = ""


class AGUIWire(Wire[RunOptions]):
    """`POST /agui`."""

    name = "agui"
    path = "/agui"
    on_disconnect: OnDisconnect = "cancel"
    schemas = Schemas("RunRequest", "Run")
    defaults = RunOptions()

    def parse(self, body: JSON) -> GenerationRequest:
        return run_request(body)

    def options(self, body: JSON) -> RunOptions:
        thread, run = body.get("threadId"), body.get("runId")
        return RunOptions(
            thread if isinstance(thread, str) else "", run if isinstance(run, str) else ""
        )

    def fold(self, options: RunOptions) -> Fold:
        return RunFold(options.thread, options.run)

    def whole(self, snapshot: Snapshot, options: RunOptions) -> JSON:
        message: JSON = {"id": f"msg_{snapshot.stream}_1", "role": "assistant"}
        if snapshot.text or snapshot.refusal:
            message["content"] = snapshot.text + snapshot.refusal
        calls = [
            {
                "id": call.call,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in snapshot.tool_calls
        ]
        if calls:
            message["toolCalls"] = calls
        messages = [message]
        kept = [_kept(each) for each in snapshot.events if isinstance(each, ev.ProviderData)]
        if snapshot.reasoning or kept:
            thought = {"id": f"msg_{snapshot.stream}_0", "content": snapshot.reasoning}
            if kept:
                thought["encryptedValue"] = dump(kept).decode()
            messages.insert(0, {"role": "reasoning", **thought})
        return {
            "threadId": options.thread or snapshot.stream,
            "runId": options.run or snapshot.stream,
            "messages": messages,
            **usage_json(snapshot.usage),
        }


WIRE = AGUIWire()
