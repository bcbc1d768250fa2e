"""The comparison as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from headwater.cli.comparison.figures import Row, Spread, compared, pairs, words

HEAD: Final = ("model", "asked", "first token", "total", "nothing to read", "tokens", "runs")


def table(made: Sequence[Row]) -> Iterator[str]:
    """A line a side, the reasons of failures below, then what it comes to in words."""
    lines = [HEAD, *(cells(row) for row in made)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(padded).rstrip()
    yield ""
    yield from reasons(made)
    for pair in pairs(made):
        if compared(pair):
            yield words(pair)


def cells(row: Row) -> tuple[str, ...]:
    """One side: the name of the model stands on its first line only."""
    return (
        row.model if row.side == "streamed" else "",
        row.side,
        *(_time(spread) for spread in (row.first, row.total, row.waited)),
        "–" if row.tokens is None else f"{row.tokens:.0f}",
        f"{len(row.done)} of {len(row.done) + len(row.errors)}"
        if row.errors
        else f"{len(row.done)}",
    )


def reasons(made: Sequence[Row]) -> Iterator[str]:
    """Why runs failed, each reason once."""
    for row in made:
        for reason in dict.fromkeys(row.errors):
            count = row.errors.count(reason)
            runs = f"{count} runs" if count > 1 else "1 run"
            yield f"{row.model}, {row.side}: {runs} failed: {reason}"


def _time(spread: Spread | None) -> str:
    return "–" if spread is None else spread.text()
