"""What stands for a reader's own code where a block of the documentation uses it unsaid.

Each statement is put before the blocks that use a name that it gives (`modules.py`).
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from langchain_core.language_models import FakeListChatModel
from starlette.requests import Request
from starlette.responses import Response

from headwater import Headwater, RequestBody
from headwater.events.snapshot import Snapshot
from headwater.transforms import redact

app = FastAPI()
hw = Headwater(upstream=os.environ.get("DOCS_UPSTREAM"))
prompt = "Why is the sky blue?"
user = "ann"
chat = "7"


class Messages:
    """A table of a database."""

    async def insert(self, *row: Any) -> None:
        """Keep a row."""


messages = Messages()


class Rows:
    """A manager of Django's ORM."""

    def create(self, **row: Any) -> None:
        """Keep a row."""


class Message:
    """A model of Django's."""

    objects = Rows()


def current_user() -> str:
    """Who asks, by a session or a token of the app's own."""
    return user


async def save(answer: Snapshot) -> None:
    """What a guide does with an answer."""


async def my_agent(prompt: str) -> AsyncIterator[str]:
    """A generator of one's own."""
    for word in prompt.split():
        yield f"{word} "


llm = FakeListChatModel(responses=["Light is scattered."])
__all__ = [
    "Request",
    "RequestBody",
    "Response",
    "app",
    "chat",
    "current_user",
    "hw",
    "json",
    "llm",
    "messages",
    "my_agent",
    "prompt",
    "redact",
    "save",
]
