"""Statistics over runs, written with the digits that they have and no more."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from headwater.cli.comparison.runs import DEFAULT, SIDES, Run, Side

#: With fewer runs than these the 95th percentile is no more than the greatest of them.
ENOUGH_FOR_P95: Final = 20
# What one run alone is told with, and the most that many are.
_DIGITS_OF_ONE: Final = 2
_MOST_DIGITS: Final = 3


class Spread(msgspec.Struct, frozen=True):
    """What many runs say of one time, in seconds; `p95` is None where they are too few for it."""

    median: float
    least: float
    most: float
    p95: float | None
    count: int

    @property
    def step(self) -> float:
        """The size of the last digit that means something.

        That of the error of the median, taken from the range of the runs, but no finer than three
        digits; two where there is one run.
        """
        finest = self.median * 10.0 ** -(_MOST_DIGITS if self.count > 1 else _DIGITS_OF_ONE)
        error = (self.most - self.least) / 2 / math.sqrt(self.count)
        return _power(max(error, finest * 10, 0.001))

    def text(self) -> str:
        """`0.42 s`, and with more than one run the least and the greatest: `0.42 s (0.41–0.45)`."""
        middle, step = seconds(self.median, self.step), self.step
        if self.count == 1:
            return middle
        unit = middle[-2:].strip()
        ends = (number(each, step, unit) for each in (self.least, self.most))
        beyond = "" if self.p95 is None else f", p95 {number(self.p95, step, unit)}"
        return f"{middle} ({'–'.join(ends)}{beyond})"


def spread(values: Iterable[float | None]) -> Spread | None:
    """The statistics of these values; None for none."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    p95 = known[math.ceil(0.95 * len(known)) - 1] if len(known) >= ENOUGH_FOR_P95 else None
    return Spread(statistics.median(known), known[0], known[-1], p95, len(known))


class Row(msgspec.Struct, frozen=True):
    """One side of one model: its runs that ended as they should, and why the others did not."""

    model: str
    side: Side
    done: Sequence[Run]
    errors: Sequence[str]

    @property
    def first(self) -> Spread | None:
        return spread(run.first_s for run in self.done)

    @property
    def total(self) -> Spread | None:
        return spread(run.total_s for run in self.done)

    @property
    def waited(self) -> Spread | None:
        return spread(run.waited_s for run in self.done)

    @property
    def tokens(self) -> float | None:
        """The median of the tokens; None where they were not counted."""
        counted = [run.tokens for run in self.done if run.tokens is not None]
        return statistics.median(counted) if counted else None

    @property
    def typical(self) -> Run | None:
        """The run whose first piece came nearest to the median, for a picture."""
        first = self.first
        if first is None:
            return None
        return min(self.done, key=lambda run: abs((run.first_s or math.inf) - first.median))


def rows(runs: Sequence[Run]) -> list[Row]:
    """Two rows a model, in the order in which they were asked for."""
    made = []
    for asked in dict.fromkeys(run.asked for run in runs):
        of_model = [run for run in runs if run.asked == asked and run.total_s is not None]
        for side in SIDES:
            own = [run for run in of_model if run.side == side]
            name = next((run.model for run in own if run.done), asked or DEFAULT)
            errors = [run.error for run in own if run.error is not None]
            made.append(Row(name, side, [run for run in own if run.done], errors))
    return made


def pairs(made: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Streamed and whole of each model."""
    return list(zip(made[::2], made[1::2], strict=True))


def compared(pair: tuple[Row, Row]) -> bool:
    """Whether both sides have a run."""
    return all(row.done for row in pair)


def words(pair: tuple[Row, Row]) -> str:
    """What a comparison says, in a sentence or two."""
    streamed, whole = pair
    first, late = streamed.first, whole.first
    waited, waited_whole = streamed.waited, whole.waited
    if not (first and late and waited and waited_whole):
        return f"{streamed.model} could not be compared."
    text = (
        f"{streamed.model}: something to read after {seconds(first.median, first.step)} streamed, "
        f"after {seconds(late.median, late.step)} whole"
    )
    if first.median < late.median:
        text += f", {_times(late, first)} as late"
    return (
        f"{text}. A reader has nothing to read for {seconds(waited.median, waited.step)} "
        f"instead of {seconds(waited_whole.median, waited_whole.step)}."
    )


def seconds(value: float, step: float) -> str:
    """A time in the unit that needs no more digits than `step` gives: `84 ms`, `0.42 s`, `12 s`."""
    unit = "ms" if value < 0.9995 and step < 0.01 else "s"
    return f"{number(value, step, unit)} {unit}"


def number(value: float, step: float, unit: str) -> str:
    """`value` seconds in `unit`, rounded to `step` seconds."""
    scale = 1000.0 if unit == "ms" else 1.0
    step *= scale
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{round(value * scale / step) * step:.{decimals}f}"


def _times(late: Spread, first: Spread) -> str:
    """How many times one is the other, with one digit where either has no more."""
    known = max(each.step / each.median for each in (late, first))
    digits = 1 if known > 0.1 else 2
    return f"{float(f'{late.median / first.median:.{digits}g}'):g} times"


def _power(value: float) -> float:
    """The power of ten at or below."""
    return 10.0 ** math.floor(math.log10(value) + 1e-9)
