"""A chat whose messages are rows: each answer is saved once, however it ended."""

import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager

from fastapi import FastAPI
from pydantic import BaseModel

from headwater import Headwater
from headwater.adapters.response import StreamResponse
from headwater.events.snapshot import Snapshot

DATA = os.environ.get("DATA", ".")

TABLE = """CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, chat TEXT NOT NULL, role TEXT NOT NULL, content TEXT NOT NULL,
    status TEXT NOT NULL, error TEXT, stream TEXT UNIQUE
)"""
ADD = """INSERT INTO messages (chat, role, content, status, error, stream)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (stream) DO NOTHING"""


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"{DATA}/chat.db")) as db, db:
        db.row_factory = sqlite3.Row
        yield db


def save(answer: Snapshot) -> None:
    """Called once for every answer that is over; it may block, since it runs in a thread."""
    chat, error = answer.metadata["chat"], answer.error and answer.error.code
    with database() as db:
        db.execute(ADD, (chat, "assistant", answer.text, answer.status, error, answer.stream))


hw = Headwater(store=f"sqlite:///{DATA}/streams.db", on_end=save, signals=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with database() as db:
        db.execute(TABLE)
    async with hw:  # saves what a killed process left; at the end, what still runs
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/ai", hw.asgi())  # GET and DELETE /ai/v1/streams/{id}: resume and stop


class Prompt(BaseModel):
    prompt: str


@app.post("/chats/{chat}")
def ask(chat: str, body: Prompt) -> StreamResponse:
    with database() as db:
        db.execute(ADD, (chat, "user", body.prompt, "done", None, None))
        rows = db.execute("SELECT * FROM messages WHERE chat = ? ORDER BY id", (chat,)).fetchall()
    messages = [{"role": row["role"], "content": row["content"]} for row in rows if row["content"]]
    return hw.response(messages, metadata={"chat": chat}, on_disconnect="continue")


@app.get("/chats/{chat}")
def read(chat: str) -> list[dict[str, str | int | None]]:
    with database() as db:
        rows = db.execute("SELECT * FROM messages WHERE chat = ? ORDER BY id", (chat,)).fetchall()
    return [dict(row) for row in rows]
