"""Where synchronous hosts meet the event loop: one native thread with a loop of its own.

WSGI servers run requests in threads, or in gevent's greenlets. Either blocks until the loop's
thread wakes it; nothing else of Headwater knows that there are such hosts.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from headwater.errors import ConfigurationError

T = TypeVar("T")


class Waiter(Protocol):
    """One blocked host thread or greenlet."""

    def wake(self) -> None:
        """Wake it; called from the loop's thread."""

    def wait(self, timeout: float | None) -> bool:
        """Block until woken, or for `timeout` seconds; whether it was woken."""

    def close(self) -> None:
        """Nobody will wake it or wait again; called from the loop's thread."""


class Host(Protocol):
    """How the host runs code."""

    def start_thread(self, run: Callable[[], None]) -> None:
        """Run in a native thread, which does not keep the process alive."""

    def spawner(self) -> Callable[[Callable[[], None]], None]:
        """Made in the host: a function that runs code as the host runs it, from any thread."""

    def waiter(self) -> Waiter:
        """Made by whoever will wait."""


class Threads:
    """A host of native threads: gunicorn's sync and gthread workers, waitress, mod_wsgi."""

    def start_thread(self, run: Callable[[], None]) -> None:
        threading.Thread(target=run, name="headwater", daemon=True).start()

    def spawner(self) -> Callable[[Callable[[], None]], None]:
        return self.start_thread

    def waiter(self) -> Waiter:
        return _ThreadWaiter()


class _ThreadWaiter:
    def __init__(self) -> None:
        self._event = threading.Event()

    def wake(self) -> None:
        self._event.set()

    def wait(self, timeout: float | None) -> bool:
        woken = self._event.wait(timeout)
        self._event.clear()
        return woken

    def close(self) -> None:
        """Nothing is held."""


class Greenlets:
    """A host whose threads gevent has patched.

    The loop's thread is started by the unpatched function: uvloop in a patched thread hangs the
    whole worker. Greenlets are woken by an async watcher of their hub, the one thing of gevent
    that another thread may touch.
    """

    def start_thread(self, run: Callable[[], None]) -> None:
        from gevent import monkey

        monkey.get_original("_thread", "start_new_thread")(run, ())

    def spawner(self) -> Callable[[Callable[[], None]], None]:
        import gevent

        loop = gevent.get_hub().loop

        def spawn(run: Callable[[], None]) -> None:
            loop.run_callback_threadsafe(gevent.spawn, run)

        return spawn

    def waiter(self) -> Waiter:
        return _GreenletWaiter()


class _GreenletWaiter:
    def __init__(self) -> None:
        import gevent
        from gevent.event import Event

        self._event = Event()
        self._loop = gevent.get_hub().loop
        self._watcher = self._loop.async_()
        self._watcher.start(self._event.set)

    def wake(self) -> None:
        self._watcher.send()

    def wait(self, timeout: float | None) -> bool:
        woken = bool(self._event.wait(timeout))
        self._event.clear()
        return woken

    def close(self) -> None:
        self._loop.run_callback_threadsafe(self._watcher.close)


def host() -> Host:
    """The host this process is, as it is now."""
    if "gevent" in sys.modules:
        from gevent import monkey

        if monkey.is_module_patched("threading"):
            return Greenlets()
    return Threads()


class Bridge:
    """A loop in a thread, for as long as the process lives."""

    def __init__(self) -> None:
        self.host = host()
        #: Runs code as the host runs it: made here, in the host.
        self.spawn = self.host.spawner()
        self.loop = self._make_loop()
        self.host.start_thread(self.loop.run_forever)

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the coroutine that `make` gives, run in the loop; blocks the host.

        Where the host breaks the wait, by Ctrl-C or gevent's time-out, it is cancelled and over.
        """
        waiter = self.host.waiter()
        begun: list[asyncio.Task[T]] = []
        outcome: list[asyncio.Task[T]] = []

        def done(task: asyncio.Task[T]) -> None:
            outcome.append(task)
            waiter.wake()

        def begin() -> None:
            begun.append(self.loop.create_task(make()))
            begun[0].add_done_callback(done)

        self.loop.call_soon_threadsafe(begin)
        try:
            try:
                while not outcome:
                    waiter.wait(None)
            except BaseException:
                self.loop.call_soon_threadsafe(lambda: begun[0].cancel())
                while not outcome:
                    waiter.wait(None)
                raise
        finally:
            self.loop.call_soon_threadsafe(waiter.close)
        return outcome[0].result()

    def _make_loop(self) -> asyncio.AbstractEventLoop:
        try:
            import uvloop
        except ImportError as error:
            if isinstance(self.host, Greenlets):
                # gevent has taken the selectors that asyncio's own loop would need.
                raise ConfigurationError("under gevent Headwater needs uvloop") from error
            return asyncio.new_event_loop()
        return uvloop.new_event_loop()
