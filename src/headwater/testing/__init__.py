"""A bench for faults: real servers on loopback that misbehave as a test says.

`FaultyUpstream` stands where a provider would, `FaultyProxy` between a reader and a server. Both
run in a thread of their own, so that neither is held up by the code under test, and are entered
with `with` or `async with`::

    async with FaultyUpstream(chat(["Hel", "lo"], gap_s=0.1)) as up:
        ...  # ask a server whose upstream is up.url
        await up.until(lambda: up.posts[0].freed_at is not None)

    async with FaultyProxy(8000, [Fault(after=700)]) as proxy:
        ...  # ask through proxy.url: the first connection is reset at its 700th byte
"""

from headwater.testing.answers import (
    CUT,
    DONE,
    EOF,
    MODELS,
    STALL,
    Answer,
    Gate,
    Step,
    chat,
    chunk,
    event,
    limited,
    reply,
)
from headwater.testing.proxy import Fault, FaultyProxy, Link
from headwater.testing.shapes import (
    ERRORS,
    coalesced,
    cut_after,
    endless_comments,
    gzipped,
    huge_line,
    size_of,
    split,
    with_line_ends,
)
from headwater.testing.upstream import FaultyUpstream, Request

__all__ = [
    "CUT",
    "DONE",
    "EOF",
    "ERRORS",
    "MODELS",
    "STALL",
    "Answer",
    "Fault",
    "FaultyProxy",
    "FaultyUpstream",
    "Gate",
    "Link",
    "Request",
    "Step",
    "chat",
    "chunk",
    "coalesced",
    "cut_after",
    "endless_comments",
    "event",
    "gzipped",
    "huge_line",
    "limited",
    "reply",
    "size_of",
    "split",
    "with_line_ends",
]
