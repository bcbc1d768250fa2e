"""An event loop whose clock jumps to the next timer: hours in a moment, and to the digit."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self._jump(timeout)
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """Its time begins at 0 and passes only while nothing is to be done."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Jumping(self._pass))

    def time(self) -> float:
        return self._now

    def _pass(self, seconds: float) -> None:
        self._now += seconds


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run `scenario` on such a loop."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(scenario)
