"""The relay that everybody writes, with FastAPI: here to be compared with, not to be copied."""

import json
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI, OpenAIError
from pydantic import BaseModel

app = FastAPI()
client = AsyncOpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL"), api_key=os.environ["OPENAI_API_KEY"]
)
MODEL = os.environ.get("MODEL", "gpt-5-mini")


class Prompt(BaseModel):
    prompt: str


async def tokens(prompt: str) -> AsyncIterator[str]:
    try:
        chunks = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": prompt}],
            stream=True,
        )
        async for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                token = chunk.choices[0].delta.content
                yield f"data: {json.dumps({'token': token})}\n\n"
    except OpenAIError as error:
        yield f"data: {json.dumps({'error': str(error)})}\n\n"
    yield "data: [DONE]\n\n"


@app.post("/stream")
async def stream(body: Prompt) -> StreamingResponse:
    return StreamingResponse(
        tokens(body.prompt),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )
