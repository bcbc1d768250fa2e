"""Text as providers cut it."""

from __future__ import annotations

import secrets
from typing import Any, Final

from headwater.events import Event, ReasoningDelta, TextDelta

#: Of the ids that we make for tool calls; a provider that gave none is not sent ours.
MADE: Final = "call_hw"


def made_call() -> str:
    """An id for a tool call whose provider gave none, unlike any other of the conversation."""
    return MADE + secrets.token_hex(8)


def without_surrogates(value: Any) -> Any:
    """A JSON value whose strings UTF-8 has a form for."""
    match value:
        case str():
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case tuple():
            return tuple(map(without_surrogates, value))
        case list():
            return [without_surrogates(item) for item in value]
        case dict():
            return {without_surrogates(k): without_surrogates(v) for k, v in value.items()}
        case _:
            return value


class Surrogates:
    r"""Joins what a provider cut inside a character.

    JSON can spell one character as two escapes, and a provider that cuts between them sends a lone
    `\ud83d`. A trailing high surrogate is held for the next piece of the same kind; what finds no
    partner becomes U+FFFD, since UTF-8 has no form for it.
    """

    def __init__(self) -> None:
        self._held: dict[str, str] = {}

    def clean(self, kind: str, text: str) -> str:
        """`text` without lone surrogates; perhaps empty, when all of it is held."""
        text = self._held.pop(kind, "") + text
        if "\ud800" <= text[-1] <= "\udbff":
            self._held[kind] = text[-1]
            text = text[:-1]
        try:
            text.encode()
        except UnicodeEncodeError:
            text = without_surrogates(text)
        return text

    def rest(self) -> list[Event]:
        """What is still held at the end, as replacement characters."""
        held, self._held = self._held, {}
        kinds: dict[str, type[TextDelta | ReasoningDelta]] = {
            "text": TextDelta,
            "reasoning": ReasoningDelta,
        }
        return [kinds[kind]("�") for kind in held if kind in kinds]
