"""Wait until a condition holds, with a bound: the one way in which tests poll."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

#: Ten times what anything here takes on a busy machine.
BOUND_S = 10.0
_PAUSE_S = 0.005
#: An event loop whose work is already due needs no more turns than this.
_TURNS = 200


def eventually(condition: Callable[[], T], what: str = "", *, within_s: float = BOUND_S) -> T:
    """Poll `condition` until its result is true.

    Args:
        condition: Called every few milliseconds; what it raises is raised here.
        what: What is waited for, for the error's message.
        within_s: The longest wait in seconds.

    Returns:
        The first true result.

    Raises:
        AssertionError: The condition did not hold in time.
    """
    give_up_at = time.monotonic() + within_s
    while not (result := condition()):
        assert time.monotonic() < give_up_at, _failure(condition, what, within_s)
        time.sleep(_PAUSE_S)
    return result


@overload
async def eventually_async(
    condition: Callable[[], Awaitable[T]], what: str = "", *, within_s: float = BOUND_S
) -> T: ...
@overload
async def eventually_async(
    condition: Callable[[], T], what: str = "", *, within_s: float = BOUND_S
) -> T: ...
async def eventually_async(
    condition: Callable[[], Any], what: str = "", *, within_s: float = BOUND_S
) -> Any:
    """Do as `eventually` does while the event loop turns; `condition` may be a coroutine function.

    The first turns take no time, so that work which is due needs no timer: on a `JumpingLoop` the
    clock does not move.
    """
    give_up_at = time.monotonic() + within_s
    turns = 0
    while True:
        result = condition()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return result
        assert time.monotonic() < give_up_at, _failure(condition, what, within_s)
        turns += 1
        await asyncio.sleep(0 if turns < _TURNS else _PAUSE_S)


def _failure(condition: Callable[[], Any], what: str, within_s: float) -> str:
    if not what:
        code = condition.__code__ if inspect.isfunction(condition) else None
        what = f"line {code.co_firstlineno} of {code.co_filename}" if code else repr(condition)
    return f"not within {within_s:g} s: {what}"
