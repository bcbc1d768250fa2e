"""What agent frameworks yield, as events: LangChain's messages, pydantic-ai's events.

Neither package is imported. Sources: langchain-core, `messages.ai` and `messages.tool`;
pydantic-ai, `messages` ("ModelResponseStreamEvent", "HandleResponseEvent").
"""

from __future__ import annotations

import json
from typing import Any, Final

from headwater.events import (
    Event,
    FinishReason,
    ProviderData,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    ToolResult,
    Usage,
    added,
)
from headwater.providers.parser import counted
from headwater.providers.shapes import member, plain
from headwater.providers.text import Surrogates, made_call, without_surrogates

_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "tool_calls": "tool-calls",
    "tool_use": "tool-calls",
    "tool_call": "tool-calls",
    "content_filter": "content-filter",
    "refusal": "content-filter",
    "safety": "content-filter",
}


class _Agent:
    """What both have in common."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.reason: FinishReason | None = None
        self._surrogates = Surrogates()
        self._calls: dict[Any, str] = {}  # those that are open, by what tells them apart

    def finish(self) -> list[Event]:
        """What was still open at the end."""
        return [*self._end_calls(), *self._surrogates.rest()]

    def _end_calls(self) -> list[Event]:
        calls, self._calls = self._calls, {}
        return [ToolCallEnd(call) for call in calls.values()]

    def _ends(self, reason: Any) -> None:
        if isinstance(reason, str) and reason:
            self.reason = _REASONS.get(reason.lower(), "stop")

    def _text(self, text: Any, events: list[Event]) -> None:
        if text and (said := self._surrogates.clean("text", str(text))):
            events.append(TextDelta(said))

    def _thought(self, text: Any, events: list[Event]) -> None:
        if text and (said := self._surrogates.clean("reasoning", str(text))):
            events.append(ReasoningDelta(said))

    def _signature(self, signature: Any, events: list[Event]) -> None:
        if isinstance(signature, str) and signature:
            events.append(ProviderData("anthropic", "signature", signature))

    def _begin(self, key: Any, call: Any, name: Any, events: list[Event]) -> None:
        self._calls[key] = made = str(call or made_call())
        events.append(ToolCallStart(made, without_surrogates(str(name or ""))))

    def _arguments(self, key: Any, arguments: Any, events: list[Event]) -> None:
        if not arguments or key not in self._calls:
            return
        text = arguments if isinstance(arguments, str) else json.dumps(plain(arguments))
        if piece := self._surrogates.clean(f"call {key}", text):
            events.append(ToolCallDelta(self._calls[key], piece))

    def _result(self, call: Any, output: Any, events: list[Event]) -> None:
        events.append(ToolResult(str(call), without_surrogates(plain(output))))


class LangChain(_Agent):
    """Messages and chunks of messages; whole messages whose chunks have come are skipped."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()
        self._message: str | None = None

    @staticmethod
    def knows(kind: str, item: Any) -> bool:
        """Whether an object with this type is a message of LangChain's."""
        name = kind.removesuffix("MessageChunk").lower()
        roles = ("ai", "tool", "human", "system", "function", "chat", "remove")
        return name in roles and member(item, "content") is not None

    def events(self, kind: str, item: Any) -> list[Event]:
        """The events of a message; those that the caller wrote are none."""
        events: list[Event] = []
        if kind.startswith("Tool") or kind == "tool":
            events += self._end_calls()
            self._result(member(item, "tool_call_id"), member(item, "content"), events)
        elif kind.lower().startswith("ai"):
            self._said(item, is_chunk=kind != "ai", events=events)
        return events

    def _said(self, item: Any, *, is_chunk: bool, events: list[Event]) -> None:
        name = member(item, "id")
        if name != self._message:
            events += self._end_calls()
            self._message = name
        if isinstance(name, str):
            if not is_chunk and name in self._seen:
                return
            self._seen.add(name)
        extra = member(item, "additional_kwargs") or {}
        self._thought(member(extra, "reasoning_content"), events)
        content = member(item, "content")
        for block in [content] if isinstance(content, str) else content or ():
            self._block(block, events)
        for call in (member(item, "tool_call_chunks") if is_chunk else ()) or ():
            self._call(call, member(call, "index"), events)
        for number, call in enumerate(() if is_chunk else member(item, "tool_calls") or ()):
            self._call(call, number, events)
        # Its arguments are whole: who reads may know so while the tool works.
        if not is_chunk or member(item, "chunk_position") == "last":
            events += self._end_calls()
        self._count(member(item, "usage_metadata"))
        told = member(item, "response_metadata") or {}
        for spelling in ("finish_reason", "stop_reason", "done_reason"):
            self._ends(member(told, spelling))

    def _block(self, block: Any, events: list[Event]) -> None:
        if isinstance(block, str):
            self._text(block, events)
            return
        match member(block, "type"):
            case "text" | "text_delta" | "output_text":
                self._text(member(block, "text"), events)
            case "thinking":
                self._thought(member(block, "thinking"), events)
                self._signature(member(block, "signature"), events)
            case "redacted_thinking":
                data = member(block, "data")
                events.append(ProviderData("anthropic", "redacted_thinking", data))
            case "reasoning":
                self._thought(member(block, "reasoning"), events)
                for part in member(block, "summary") or ():
                    self._thought(member(part, "text"), events)

    def _call(self, call: Any, index: Any, events: list[Event]) -> None:
        name, arguments = member(call, "id"), member(call, "args")
        key = name if index is None else index
        if key is None and self._calls:  # a fragment that says nothing belongs to the last call
            key = next(reversed(self._calls))
        if key not in self._calls:
            self._begin(key, name, member(call, "name"), events)
        self._arguments(key, arguments, events)

    def _count(self, usage: Any) -> None:
        """LangChain's chunks are made to be added up, and so is what they count."""
        if usage:
            asked = member(usage, "input_token_details") or {}
            answered = member(usage, "output_token_details") or {}
            more = counted(
                member(usage, "input_tokens"),
                member(usage, "output_tokens"),
                member(answered, "reasoning"),
                member(asked, "cache_read"),
            )
            self.usage = added(self.usage, more)


class PydanticAI(_Agent):
    """Events of a model's stream or of an agent's run."""

    def events(self, item: Any) -> list[Event]:
        """The events of an event; those that tell what was told are none."""
        events: list[Event] = []
        index = member(item, "index")
        match member(item, "event_kind"):
            case "part_start":
                if index == 0:
                    events += self._end_calls()  # the agent's next round counts anew
                self._part(index, member(item, "part"), events)
            case "part_delta":
                self._delta(index, member(item, "delta"), events)
            case "part_end":
                if index in self._calls:
                    events.append(ToolCallEnd(self._calls.pop(index)))
            case "function_tool_result" | "builtin_tool_result" | "output_tool_result":
                events += self._end_calls()
                part = member(item, "part") or member(item, "result")
                self._result(member(part, "tool_call_id"), member(part, "content"), events)
            case "agent_run_result":
                self._count(member(member(item, "result"), "usage"))
        return events

    def _part(self, index: Any, part: Any, events: list[Event]) -> None:
        match member(part, "part_kind"):
            case "text":
                self._text(member(part, "content"), events)
            case "thinking":
                self._thought(member(part, "content"), events)
                self._signed(part, member(part, "signature"), events)
            case "tool-call":
                self._begin(index, member(part, "tool_call_id"), member(part, "tool_name"), events)
                self._arguments(index, member(part, "args"), events)

    def _delta(self, index: Any, delta: Any, events: list[Event]) -> None:
        match member(delta, "part_delta_kind"):
            case "text":
                self._text(member(delta, "content_delta"), events)
            case "thinking":
                self._thought(member(delta, "content_delta"), events)
                self._signed(delta, member(delta, "signature_delta"), events)
            case "tool_call":
                self._arguments(index, member(delta, "args_delta"), events)

    def _signed(self, part: Any, signature: Any, events: list[Event]) -> None:
        if member(part, "provider_name") == "anthropic":
            self._signature(signature, events)

    def _count(self, usage: Any) -> None:
        if member(usage, "input_tokens") is None and callable(usage):
            usage = usage()  # a method in older versions
        if usage is not None:
            self.usage = counted(
                member(usage, "input_tokens"),
                member(usage, "output_tokens"),
                (member(usage, "details") or {}).get("reasoning_tokens"),
                member(usage, "cache_read_tokens"),
            )
