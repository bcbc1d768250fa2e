"""What SDKs yield, as events: the chunks of OpenAI's and Anthropic's, or dicts of their shapes.

None of these packages is imported: an object is known by its members. Their objects are what their
wires carry, so the parsers of these wires read them; LangChain and pydantic-ai are in `agents`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from headwater.errors import HeadwaterError
from headwater.events import Event, FinishReason, Usage, added
from headwater.providers.agents import LangChain, PydanticAI
from headwater.providers.anthropic import MessagesParser
from headwater.providers.openai_chat import ChatCompletionsParser
from headwater.providers.openai_responses import ResponsesParser
from headwater.providers.parser import StreamParser
from headwater.providers.shapes import member, plain

_ANTHROPIC: Final = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "message",
        "ping",
    }
)
# What the SDKs' helpers tell besides, of which the events above have told already.
_TOLD: Final = frozenset({"text", "thinking", "signature", "citation", "input_json", "compaction"})
_TOLD_BEGIN: Final = ("content.", "refusal.", "tool_calls.", "logprobs.")


class Objects:
    """One generator's objects. Of several responses in a row, usage is summed.

    `reason` is the last response's, None where none told one. An SDK's response that ends without
    having told why was cut, which the SDKs do not say: `finish` raises `truncated`.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.reason: FinishReason | None = None
        self._parser: StreamParser | None = None
        self._response: Any = None  # the id of the response that is being read
        self._strict = False
        self._chains: LangChain | None = None
        self._agents: PydanticAI | None = None

    def events(self, item: Any) -> list[Event] | None:
        """The events of an object; None for one that is none of these."""
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], Mapping):
            item = item[0]  # LangGraph's message with its metadata
        if member(item, "event_kind") is not None:
            self._agents = self._agents or PydanticAI()
            return self._agents.events(item)
        if isinstance(member(item, "choices"), list):
            return self._chat(item)
        kind = member(item, "type")
        if not isinstance(kind, str):
            return self._wrapped(item)
        if kind in _ANTHROPIC:
            return self._read(MessagesParser, item)
        if kind.startswith("response."):
            return self._read(ResponsesParser, item)
        if kind == "error":
            return self._read(type(self._parser) if self._parser else MessagesParser, item)
        if kind == "chunk":  # of OpenAI's stream helper
            return self.events(member(item, "chunk"))
        if kind.startswith(_TOLD_BEGIN) or (kind in _TOLD and not isinstance(item, dict)):
            return []
        if not LangChain.knows(kind, item):
            return None
        self._chains = self._chains or LangChain()
        return self._chains.events(kind, item)

    def finish(self) -> list[Event]:
        """What was still open at the generator's end."""
        events = self._end() if self._parser is not None else []
        for agent in (self._chains, self._agents):
            if agent is not None:
                events += agent.finish()
                self.reason = agent.reason or self.reason
                self.usage = added(self.usage, agent.usage)
        return events

    def _wrapped(self, item: Any) -> list[Event] | None:
        if member(item, "object") == "response":  # OpenAI's, whole
            return self._read(ResponsesParser, item)
        wrapped = member(item, "data")
        if isinstance(member(wrapped, "choices"), list):  # Mistral's SDK
            return self._chat(wrapped)
        if isinstance(item, dict) and str(item.get("event")).startswith("on_"):  # LangChain's
            return self._happened(item["event"], wrapped)
        return None

    def _happened(self, event: str, data: Any) -> list[Event] | None:
        """What LangChain's `astream_events` tells: of most of it, its chunks have told already."""
        if event == "on_chat_model_stream":
            return self.events(member(data, "chunk"))
        output = member(data, "output") if event == "on_tool_end" else None
        # Without an agent around it a tool gives anything, which may look like what we know.
        is_message = not isinstance(output, dict) and member(output, "type") == "tool"
        return self.events(output) if is_message else []

    def _chat(self, item: Any) -> list[Event]:
        """A chunk. The next response of an agent begins where another id comes after a finish."""
        events: list[Event] = []
        parser, response = self._parser, member(item, "id")
        if (
            isinstance(parser, ChatCompletionsParser)
            and parser.told
            and response != self._response
            and member(item, "choices")
        ):
            events = self._end()
        if self._parser is None:
            self._response = response
        return events + self._read(ChatCompletionsParser, item)

    def _read(self, kind: type[StreamParser], item: Any) -> list[Event]:
        events: list[Event] = []
        if self._parser is not None and not isinstance(self._parser, kind):
            events = self._end()
        if self._parser is None:
            self._parser = kind("the generator", "text/event-stream")
            self._strict = not isinstance(item, dict)
        events += self._parser.read(json.dumps(plain(item)).encode())
        if self._parser.closed:
            self._settle(self._parser)
        return events

    def _end(self) -> list[Event]:
        """The response that was being read is over."""
        parser = self._parser
        if parser is None:
            return []
        if not self._strict:
            parser.take_as_whole()
        events = parser.end()
        self._settle(parser)
        return events

    def _settle(self, parser: StreamParser) -> None:
        self._parser = None
        self.usage = added(self.usage, parser.usage)
        if isinstance(parser.outcome, HeadwaterError):
            raise parser.outcome
        if parser.outcome is not None:
            self.reason = parser.outcome.reason
