"""How things are named in Redis.

::

    hw:{STREAM}         hash: record, node, epoch, closed, attempt, plan
    hw:{STREAM}:log     Redis Stream: an entry under its position, its bytes in the field d
    hw:node:NODE        there while the node's lease lasts
    hw:nodes            set: every node that may have left open streams
    hw:open:NODE        set: the node's open streams
    hw:by:PRINCIPAL     list: the principal's streams, newest first; hw:anyone for none
    hw:label:LABEL      list: the streams with the label, newest first
    hw:claim:KEY        what the key stands for
    hw:to:NODE          channel of notes to the node

Both keys of a stream have the same hash tag, and no script touches any other: they would stay
together in a cluster.
"""

from __future__ import annotations

from typing import Final

NODES: Final = "hw:nodes"


def stream_keys(stream: str) -> tuple[str, str]:
    """The stream's hash and its log."""
    return f"hw:{{{stream}}}", f"hw:{{{stream}}}:log"


def lease_key(node: str) -> str:
    """There while the node's lease lasts."""
    return f"hw:node:{node}"


def open_key(node: str) -> str:
    """The node's open streams."""
    return f"hw:open:{node}"


def principal_key(principal: str | None) -> str:
    """The principal's streams."""
    return "hw:anyone" if principal is None else f"hw:by:{principal}"


def label_key(label: str) -> str:
    """The streams with this label."""
    return f"hw:label:{label}"


def claim_key(key: str) -> str:
    """What this key stands for."""
    return f"hw:claim:{key}"


def channel(node: str) -> str:
    """Where notes to this node are published."""
    return f"hw:to:{node}"
