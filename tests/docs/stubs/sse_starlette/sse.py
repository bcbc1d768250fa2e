"""The response."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse


class EventSourceResponse(StreamingResponse):
    """A stream of events with data."""

    def __init__(self, events: AsyncIterator[dict[str, str]], *, ping: int) -> None:
        lines = (f"data: {event['data']}\r\n\r\n" async for event in events)
        super().__init__(lines, media_type="text/event-stream")
