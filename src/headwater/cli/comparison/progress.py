"""What is seen while runs go on: two columns on a terminal, a line a run elsewhere."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from headwater.cli.comparison.figures import spread
from headwater.cli.comparison.runs import SIDES, Run, Side
from headwater.cli.terminal import say
from headwater.observe.shown import CONTROL, printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

#: Told of each run as it begins and when it is over.
RunCallback = Callable[[Run], None]

# Line ends cost the few lines there are.
_SPACE: Final = re.compile(r"\s+")
_A_SECOND: Final = 10  # pictures; a token's arrival is seen, and the model keeps its cores
_SHOWN: Final = 140  # characters of each answer, its last ones


@contextmanager
def progress(
    models: Sequence[str | None], repeat: int
) -> Iterator[tuple[RunCallback, RunCallback]]:
    """What to tell of the beginning and of the end of a run; on stderr."""
    if not sys.stderr.isatty():
        yield (lambda run: None), lambda run: say(line(run, repeat), err=True)
        return

    from rich.console import Console
    from rich.live import Live

    view = _View(models, repeat)
    with Live(
        get_renderable=view.render,
        console=Console(stderr=True),
        refresh_per_second=_A_SECOND,
        transient=True,
    ):
        yield view.show, view.show


def line(run: Run, repeat: int) -> str:
    """One run that is over: `tape/story streamed 1/3: something to read after 0.41 s, …`."""
    which = f"{run.model} {run.side}" + (f" {run.number}/{repeat}" if repeat > 1 else "")
    return f"{which}: {_state(run)}"


class _View:
    """The last run of each side, side by side."""

    def __init__(self, models: Sequence[str | None], repeat: int) -> None:
        self._models = models
        self._repeat = repeat
        self._runs: dict[tuple[str | None, Side], Run] = {}

    def show(self, run: Run) -> None:
        self._runs[run.asked, run.side] = run

    def render(self) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False)
        table.add_column("model", ratio=2)
        for side in SIDES:
            table.add_column(side, ratio=5)
        for model in self._models:
            runs = [self._runs.get((model, side)) for side in SIDES]
            name = next((run.model for run in runs if run is not None), model or "")
            table.add_row(Text(printable(name)), *(self._cell(run) for run in runs))
        return table

    def _cell(self, run: Run | None) -> Text:
        from rich.text import Text

        cell = Text(overflow="fold")
        if run is None:
            return cell.append("not asked yet\n", style="dim")
        style = "red" if run.error else "green" if run.total_s is not None else "bold"
        count = f"{run.number}/{self._repeat} · " if self._repeat > 1 else ""
        cell.append(f"{count}{printable(_state(run))}\n", style=style)
        tail = _SPACE.sub(" ", run.tail[-_SHOWN:])
        cell.append(CONTROL.sub("\ufffd", tail) + "\n", style="dim")
        return cell


def _state(run: Run) -> str:
    if run.error is not None:
        return f"failed: {run.error}"
    if run.total_s is None:
        passed = f"{time.perf_counter() - run.began:.1f} s"
        if not run.pieces:
            return f"nothing to read yet · {passed}"
        return f"{len(run.pieces)} pieces · {passed}"
    first, total = spread([run.first_s]), spread([run.total_s])
    when = "nothing to read" if first is None else f"something to read after {first.text()}"
    return when if total is None else f"{when}, in all {total.text()}"
