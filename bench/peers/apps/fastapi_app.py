"""The relay that everybody writes, as the three packages document it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI
from openai import AsyncOpenAI
from pydantic import BaseModel
from sse_starlette.sse import EventSourceResponse  # type: ignore[import-not-found, unused-ignore]

urls: dict[str, str] = json.loads(os.environ["UPSTREAMS"])
clients = {name: AsyncOpenAI(base_url=url, api_key="bench") for name, url in urls.items()}
app = FastAPI()


class Prompt(BaseModel):
    prompt: str
    model: str


@app.post("/{upstream}/stream")
async def stream(upstream: str, body: Prompt) -> EventSourceResponse:
    async def tokens() -> AsyncIterator[dict[str, str]]:
        chunks = await clients[upstream].chat.completions.create(
            model=body.model, messages=[{"role": "user", "content": body.prompt}], stream=True
        )
        async for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                yield {"data": json.dumps({"token": chunk.choices[0].delta.content})}
        yield {"data": "[DONE]"}

    return EventSourceResponse(tokens())
