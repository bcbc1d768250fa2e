"""What stands for a reader's own code where a block of the documentation uses it unsaid.

Each statement is put before the blocks that use a name that it gives (`modules.py`).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

from headwater import Headwater
from headwater.transforms import redact

hw = Headwater(upstream=os.environ.get("DOCS_UPSTREAM"))
prompt = "Why is the sky blue?"
user = "ann"
chat = "7"


class Messages:
    """A table of a database."""

    async def insert(self, *row: Any) -> None:
        """Keep a row."""


messages = Messages()


async def my_agent(prompt: str) -> AsyncIterator[str]:
    """A generator of one's own."""
    for word in prompt.split():
        yield f"{word} "


__all__ = ["chat", "hw", "messages", "my_agent", "prompt", "redact", "user"]
