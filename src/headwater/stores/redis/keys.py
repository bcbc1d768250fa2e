"""How things are named in Redis.

::

    hw:{STREAM}         hash: record, node, epoch, closed, attempt, plan
    hw:{STREAM}:log     Redis Stream: an entry under its position, its bytes in the field d
    hw:node:NODE        there while the node's lease lasts
    hw:turn:NODE        there while the node's event loop has turned not too long ago
    hw:nodes            set: every node that may have left open streams
    hw:open:NODE        set: the node's open streams
    hw:by:PRINCIPAL     sorted set: the principal's streams; hw:anyone for none
    hw:label:LABEL      sorted set: the streams with the label
    hw:claim:KEY        what the key stands for
    hw:to:NODE          channel of notes to the node

`hw` is `store.prefix`. Both keys of a stream have the same hash tag, and no script touches keys of
two tags: Redis Cluster requires that. Every key expires by itself.
"""

from __future__ import annotations

from typing import Final


class Keys:
    """Names of the keys and channels of one deployment, which all begin with `prefix`."""

    def __init__(self, prefix: str = "hw") -> None:
        self.prefix: Final = prefix
        self.nodes: Final = f"{prefix}:nodes"

    def stream(self, stream: str) -> tuple[str, str]:
        """The stream's hash and its log."""
        return f"{self.prefix}:{{{stream}}}", f"{self.prefix}:{{{stream}}}:log"

    def lease(self, node: str) -> str:
        """There while the node's lease lasts."""
        return f"{self.prefix}:node:{node}"

    def open(self, node: str) -> str:
        """The node's open streams."""
        return f"{self.prefix}:open:{node}"

    def turn(self, node: str) -> str:
        """There while the node's event loop has turned not too long ago."""
        return f"{self.prefix}:turn:{node}"

    def principal(self, principal: str | None) -> str:
        """The principal's streams."""
        return f"{self.prefix}:anyone" if principal is None else f"{self.prefix}:by:{principal}"

    def label(self, label: str) -> str:
        """The streams with this label."""
        return f"{self.prefix}:label:{label}"

    def lists(self, principal: str | None, label: str | None) -> tuple[str, ...]:
        """The lists that hold a stream of this principal and this label."""
        by_principal = self.principal(principal)
        return (by_principal,) if label is None else (by_principal, self.label(label))

    def claim(self, key: str) -> str:
        """What this key stands for."""
        return f"{self.prefix}:claim:{key}"

    def channel(self, node: str) -> str:
        """Where notes to this node are published."""
        return f"{self.prefix}:to:{node}"
