"""A source that the user's own code writes into, event by event."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headwater.errors import HeadwaterError
from headwater.events import FinishReason, Usage
from headwater.observe import Try
from headwater.providers.base import Finish, Receiver
from headwater.providers.iterator import Converter, Item


class PushedSource:
    """What `write` is given, as it is given. Used in the event loop alone."""

    attempts = 1
    tries: Sequence[Try] = ()
    route: str | None = None
    connected_at: float | None = None

    def __init__(self) -> None:
        self.usage: Usage | None = None
        #: Set when nobody wants any more: the stream was stopped, or its log cannot be written.
        self.cancelled = asyncio.Event()
        self._converter = Converter()
        self._receiver: Receiver | None = None

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def cancel(self) -> None:
        self._receiver = None
        self.cancelled.set()

    def write(self, item: Item) -> None:
        """A string, an event, or a chunk of an SDK; `TypeError` for anything else."""
        events = self._converter.events(item)
        if events and self._receiver is not None:
            self._receiver.events(events)

    def finish(self, reason: FinishReason | None) -> None:
        """The answer is whole."""
        receiver, self._receiver = self._receiver, None
        outcome, events = self._converter.end()
        if isinstance(outcome, Finish):
            outcome = Finish(reason or outcome.reason, self.usage or outcome.usage)
        if receiver is not None:
            receiver.end(outcome, events)

    def fail(self, error: HeadwaterError) -> None:
        """It broke off."""
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.end(error)
