"""A pydantic-ai agent with a tool: what it says, calls and finds is streamed as it happens."""

import os
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic_ai import Agent

from headwater import Headwater
from headwater.adapters.response import StreamResponse

DOCS = Path(os.environ.get("DOCS", "../../docs"))

app, hw = FastAPI(), Headwater()
app.mount("/ai", hw.asgi())  # GET and DELETE /ai/v1/streams/{id}: resume and stop

# OPENAI_API_KEY and OPENAI_BASE_URL are read by pydantic-ai itself.
agent = Agent(
    f"openai-chat:{os.environ.get('OPENAI_MODEL', 'gpt-4.1-mini')}",
    instructions="Answer from what `search` finds.",
)


@agent.tool_plain
def search(words: str) -> str:
    """Find the lines of the documentation that have all of these words."""
    wanted = words.lower().split()
    lines = [line for file in sorted(DOCS.glob("*.md")) for line in file.read_text().splitlines()]
    return "\n".join([line for line in lines if all(w in line.lower() for w in wanted)][:20])


class Prompt(BaseModel):
    prompt: str


@app.post("/agent")
async def ask(body: Prompt) -> StreamResponse:
    return hw.response(agent.run_stream_events(body.prompt), wire="native")
