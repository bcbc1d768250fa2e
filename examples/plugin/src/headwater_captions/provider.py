"""The API of a teleprompter: it is sent a script, and answers a line of JSON for each word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headwater.errors import HeadwaterError
from headwater.events import Event, TextDelta
from headwater.generation import GenerationRequest
from headwater.providers.conversation import turns
from headwater.providers.failures import http_failure
from headwater.providers.members import Members
from headwater.providers.parser import StreamParser
from headwater.settings import Endpoint
from headwater.sse import Message
from headwater.upstream import Request


class Teleprompter:
    """The dialect, made for an entry of `[providers]` whose `dialect` is `teleprompter`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def request(
        self, base_url: str, key: str | None, request: GenerationRequest, model: str
    ) -> Request:
        Members(request.options, "The teleprompter").done()  # what it lacks is refused by name
        said = turns(request.messages, "The teleprompter", vendor="teleprompter")
        body = {"script": "\n".join(turn.text for turn in said), "voice": model}
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return Request("POST", f"{base_url}/prompt", headers, msgspec.json.encode(body))

    def parser(self, provider: str, content_type: str) -> WordsParser:
        return WordsParser(provider, content_type, lines=True)

    def failure(
        self, provider: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> HeadwaterError:
        return http_failure(provider, status, headers, body)


class WordsParser(StreamParser):
    """`{"word": "…"}` until `{"over": true}`; without that the answer was cut."""

    def read_message(self, message: Message, events: list[Event], *, last: bool = False) -> None:
        try:
            said: Any = msgspec.json.decode(message.data)
        except msgspec.DecodeError:
            said = None
        self.empty = False
        match said:
            case {"word": str(word)}:
                events.append(TextDelta(word))
            case {"over": True}:
                self.reason = "stop"
                self.close(events)
            case {"error": _}:
                self.fail_with(message.data)
            case _:
                self.unreadable(last)
