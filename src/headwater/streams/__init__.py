"""The heart: a generation writes a log; every reader, in every wire, is a cursor on that log."""

from headwater.streams.hub import Hub
from headwater.streams.local import LocalStream
from headwater.streams.opened import Opened
from headwater.streams.subscriber import Sink, Subscriber

__all__ = ["Hub", "LocalStream", "Opened", "Sink", "Subscriber"]
