"""Whether a position is one of a log."""

from __future__ import annotations

from headwater.errors import HeadwaterError
from headwater.events.position import START, Position
from headwater.stores.base import Record, Store, Tail


async def check_position(store: Store, record: Record, after: Position, tail: Tail) -> None:
    """`position_lost` when the log has no such position: never a silent jump."""
    there = START < after <= tail.last and after.seq >= 1
    if there and after.epoch < tail.last.epoch:
        # An earlier writer's epoch: it may have ended before that position.
        before = Position(after.epoch, after.seq - 1)
        entries = await store.read(record.stream, before, 1)
        there = entries is not None and len(entries) > 0 and entries[0].last.epoch == after.epoch
    if not there:
        raise HeadwaterError(
            "position_lost",
            f"Position {after} is not in this stream, which ends at {tail.last}: read it from "
            "the start.",
            retryable=False,
        )
