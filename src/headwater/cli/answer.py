"""An answer on a terminal: its text as it comes, then one line about its time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from headwater import events as ev
from headwater.cli.terminal import say
from headwater.errors import HeadwaterError, error_told
from headwater.observe.shown import CONTROL

_DIM: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"

_NOTES: Final = {
    "length": "cut at the longest answer allowed",
    "content-filter": "stopped by the provider's content filter",
    "cancelled": "stopped",
}


class Answer:
    """Prints what `add` is given: text to stdout, and the reasoning, dimmed, to a terminal only.

    With `live` false the text is printed when it is whole. Times are counted from here, or with
    `asked` false are those of the server that was asked by somebody else.
    """

    def __init__(self, *, live: bool, asked: bool = True) -> None:
        self._begun = time.perf_counter()
        self._live = live
        self._asked = asked
        self._terminal = sys.stdout.isatty()
        self._held: list[str] = []
        self._dimmed = False
        self._written = ""
        self._pieces = 0
        self._first: float | None = None
        self._last = self._begun
        self._repaired = False
        self._end: ev.Terminal | None = None
        # A locale without UTF-8 must not end an answer in the middle.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")

    def add(self, events: Sequence[ev.Event]) -> None:
        """Print events, or remember them for the end."""
        for event in events:
            self._add(event)

    def _add(self, event: ev.Event) -> None:
        match event:
            case ev.TextDelta(text) | ev.RefusalDelta(text):
                self._count()
                self._write(text, dim=False)
            case ev.ReasoningDelta(text):
                self._count()
                if self._terminal:
                    self._write(text, dim=True)
            case ev.StreamRepair():
                self._repaired = True
            case ev.StreamEnd() | ev.StreamError():
                self._end = event

    def finish(self) -> None:
        """End the text and tell its times on stderr; `HeadwaterError` for a failed answer."""
        ended = time.perf_counter()
        self.leave()
        if isinstance(self._end, ev.StreamError):
            raise error_told(self._end.code, self._end.message, retryable=self._end.retryable)
        if self._end is None:
            raise HeadwaterError("truncated", "the answer broke off before its end")
        say(" · ".join(self._summary(self._end, ended)), err=True)

    def leave(self) -> None:
        """End the output where it is."""
        text = "".join(self._held) + (_PLAIN if self._dimmed else "")
        if self._written and not self._written.endswith("\n"):
            text += "\n"
        self._held, self._dimmed, self._written = [], False, ""
        if text:
            self._out(text)

    def _count(self) -> None:
        self._last = time.perf_counter()
        self._pieces += 1
        if self._first is None:
            self._first = self._last

    def _write(self, text: str, *, dim: bool) -> None:
        if not text:
            return
        if self._terminal:
            text = CONTROL.sub("\ufffd", text)  # a model can be made to say anything
        if dim != self._dimmed:
            self._dimmed = dim
            gap = "" if dim or self._written.endswith("\n") else "\n\n"
            text = (_DIM if dim else _PLAIN + gap) + text
        self._written = text
        if self._live:
            self._out(text)
        else:
            self._held.append(text)

    def _out(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def _summary(self, end: ev.StreamEnd, ended: float) -> list[str]:
        parts = []
        first, last, total = self._times(end, ended)
        if first is not None:
            parts.append(f"first token {duration(first)}")
        parts.append(f"total {duration(total)}")
        if (speed := self._tokens_per_second(end, first, last)) is not None:
            parts.append(f"{speed:.0f} tokens/s")
        if end.reason in _NOTES:
            parts.append(_NOTES[end.reason])
        if self._repaired:
            parts.append("repaired after a break")
        return parts

    def _times(self, end: ev.StreamEnd, ended: float) -> tuple[float | None, float, float]:
        """Of the first token, the last, and the end: seconds from when it was asked."""
        if self._asked:
            first = None if self._first is None else self._first - self._begun
            return first, self._last - self._begun, ended - self._begun
        told = end.timing.first_token
        total = end.timing.total / 1000
        return None if told is None else told / 1000, total, total

    def _tokens_per_second(
        self, end: ev.StreamEnd, first: float | None, last: float
    ) -> float | None:
        """Speed after the first token; a provider that counts nothing has its pieces counted."""
        tokens = end.usage.output_tokens if end.usage is not None else self._pieces
        if first is None or tokens < 2 or last <= first:
            return None
        return (tokens - 1) / (last - first)


@contextmanager
def shown(*, live: bool, asked: bool = True) -> Iterator[Answer]:
    """An answer that is ended where it is when an error leaves the context, else finished."""
    answer = Answer(live=live, asked=asked)
    try:
        yield answer
    except BaseException:
        answer.leave()
        raise
    answer.finish()


def duration(seconds: float) -> str:
    """Write a duration as a reader says it: `84 ms`, `1.2 s`."""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"
