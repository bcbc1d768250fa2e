"""One prompt asked once: when its pieces came, and how long a reader had nothing to read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from headwater import events as ev
from headwater.cli.comparison.askers import Asker
from headwater.errors import HeadwaterError

Side = Literal["streamed", "whole"]
SIDES: Final[tuple[Side, Side]] = ("streamed", "whole")

#: Characters that a reader takes in a second: 238 words a minute, the mean of silent reading in
#: English, at six characters a word with its space.
#: Source: M. Brysbaert, "How many words do we read per minute?", 2019.
READING: Final = 238 * 6 / 60

#: What the model is called until it is known which one answers where none is named.
DEFAULT: Final = "the default model"

# What a live view shows of a text: a few lines.
_TAIL: Final = 400


class Run(msgspec.Struct):
    """One asking; times are seconds from when it was asked.

    `model` is the name that answered, once it is known. `pieces` are the arrivals of what can be
    read, each with its characters; a whole answer is one. `tokens` is None where the provider did
    not count. `total_s` is None until the run is over, and `error` says why it failed.
    """

    asked: str | None
    side: Side
    number: int
    model: str
    began: float = 0.0
    pieces: list[tuple[float, int]] = []
    tokens: int | None = None
    total_s: float | None = None
    error: str | None = None
    tail: str = ""

    @property
    def done(self) -> bool:
        """Whether it ended as it should."""
        return self.total_s is not None and self.error is None

    @property
    def first_s(self) -> float | None:
        """When there was something to read."""
        return self.pieces[0][0] if self.pieces else None

    @property
    def waited_s(self) -> float | None:
        """How long a reader at `READING` speed had nothing to read, until the answer was whole."""
        if not self.pieces:
            return self.total_s
        waited = read_until = 0.0
        for at, characters in self.pieces:
            waited += max(0.0, at - read_until)
            read_until = max(read_until, at) + characters / READING
        return waited

    def read(self, at: float, text: str) -> None:
        """A piece has come."""
        if text:
            self.pieces.append((at, len(text)))
            self.tail = (self.tail + text)[-_TAIL:]


def ask(asker: Asker, prompt: str, run: Run) -> None:
    """Ask once, and note in `run` what came; a failure is noted too."""
    run.began = time.perf_counter()
    try:
        if run.side == "streamed":
            _streamed(asker, prompt, run)
        else:
            whole = asker.whole(prompt, run.asked)
            run.read(time.perf_counter() - run.began, whole.text)
            run.model, run.tokens = whole.model, whole.tokens
    except HeadwaterError as error:
        run.error = error.message
    run.total_s = time.perf_counter() - run.began


def _streamed(asker: Asker, prompt: str, run: Run) -> None:
    ended: list[ev.Event] = []

    def heard(events: Sequence[ev.Event]) -> None:
        at = time.perf_counter() - run.began
        for event in events:
            match event:
                case ev.TextDelta(text) | ev.ReasoningDelta(text) | ev.RefusalDelta(text):
                    run.read(at, text)
                case ev.StreamStart(_, model):
                    run.model = model
                case ev.StreamEnd(_, usage):
                    run.tokens = None if usage is None else usage.output_tokens
                    ended.append(event)
                case ev.StreamError(_, message):
                    run.error = message
                    ended.append(event)

    asker.streamed(prompt, run.asked, heard)
    if not ended:
        run.error = "the answer broke off before its end"


def plan(models: Sequence[str | None], repeat: int) -> Iterator[Run]:
    """Every run in its order: one at a time, and whichever side was first is second next time."""
    for number in range(1, repeat + 1):
        sides = SIDES if number % 2 else tuple(reversed(SIDES))
        for model in models:
            for side in sides:
                yield Run(model, side, number, model or DEFAULT)
