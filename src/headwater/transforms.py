"""What may be done to an answer's text between the provider and the log.

`Headwater.response(transform=…)` takes a function from text to text, called with each piece, or one
of these. Whatever is done, is done once: every reader, and every resume, reads the same log.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Final, Protocol, cast

_WORDS: Final = re.compile(r"\s\S*\Z")
_LINES: Final = re.compile(r"\n[^\n]*\Z")
# What is held at most while the end of a word or a line is awaited.
_LONGEST: Final = 4096


class Transform(Protocol):
    """One answer's: text in, text out, in order; it may hold some back for a while."""

    def feed(self, text: str) -> str:
        """What can be said now."""

    def rest(self) -> str:
        """What is still held: the text is over, or something else comes next."""


#: Makes the transform of each answer.
Transforms = Callable[[], Transform]
#: Changes each piece of text by itself.
Change = Callable[[str], str]


class _Each:
    def __init__(self, change: Callable[[str], str]) -> None:
        self._change = change

    def feed(self, text: str) -> str:
        return self._change(text)

    def rest(self) -> str:
        return ""


class _Smooth:
    def __init__(self, edge: re.Pattern[str]) -> None:
        self._edge = edge
        self._held = ""
        self._begun = False

    def feed(self, text: str) -> str:
        if not self._begun:  # the first token is worth more than a whole word
            self._begun = bool(text)
            return text
        text = self._held + text
        edge = self._edge.search(text)
        if edge is None and len(text) < _LONGEST:
            self._held = text
            return ""
        cut = edge.start() + 1 if edge is not None else len(text)
        self._held = text[cut:]
        return text[:cut]

    def rest(self) -> str:
        held, self._held = self._held, ""
        return held


class _Redact:
    def __init__(self, words: tuple[str, ...], put: str) -> None:
        self._words = words
        self._put = put
        # Longest first, so that of two that begin alike the longer one is taken.
        ordered = sorted(words, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered)))
        self._held = ""

    def feed(self, text: str) -> str:
        text = self._held + text
        cut = len(text) - self._begun(text)
        said: list[str] = []
        at = 0
        for match in self._pattern.finditer(text):
            # One that a longer word may still become waits with what follows it.
            if match.end() > cut:
                cut = min(cut, match.start())
                break
            said += (text[at : match.start()], self._put)
            at = match.end()
        self._held = text[max(at, cut) :]
        said.append(text[at : max(at, cut)])
        return "".join(said)

    def rest(self) -> str:
        held, self._held = self._held, ""
        return self._pattern.sub(lambda _: self._put, held)

    def _begun(self, text: str) -> int:
        """The length of the longest end of `text` that is a beginning, but no whole, of a word."""
        longest = max(map(len, self._words)) - 1
        for length in range(min(longest, len(text)), 0, -1):
            end = text[-length:]
            if any(word.startswith(end) and len(word) > length for word in self._words):
                return length
        return 0


def smooth(by: str = "word") -> Transforms:
    """Pieces end where a `word` or a `line` ends; the first comes at once, as it is.

    `ValueError` for anything else.
    """
    edges = {"word": _WORDS, "line": _LINES}
    if by not in edges:
        raise ValueError(f'smooth takes "word" or "line", not {by!r}')
    return lambda: _Smooth(edges[by])


def redact(words: Iterable[str], put: str = "[redacted]") -> Transforms:
    """None of `words` is ever said, however it is cut into pieces; `put` is, in its place.

    Text is held back only while it may be the beginning of one. `ValueError` for an empty word.
    """
    given = tuple(words)
    if not given or not all(given):
        raise ValueError("redact takes words that are not empty, and at least one")
    return lambda: _Redact(given, put)


def made(transform: Transforms | Change) -> Transform:
    """The transform of one answer, of what a user gave."""
    wanted = [
        parameter
        for parameter in inspect.signature(transform).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if wanted:
        return _Each(cast(Change, transform))
    return cast(Transforms, transform)()
