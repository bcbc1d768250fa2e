"""The heart: a generation writes a log; every reader, in every wire, is a cursor on that log."""

from headwater.streams.hub import Hub
from headwater.streams.opened import Opened
from headwater.streams.stream import Stream
from headwater.streams.subscriber import Sink, Subscriber

__all__ = ["Hub", "Opened", "Sink", "Stream", "Subscriber"]
