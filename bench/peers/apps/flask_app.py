"""The same relay, synchronous: gunicorn's threads or greenlets wait for the tokens."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from flask import Flask, Response, request, stream_with_context
from openai import OpenAI

urls: dict[str, str] = json.loads(os.environ["UPSTREAMS"])
clients = {name: OpenAI(base_url=url, api_key="bench") for name, url in urls.items()}
app = Flask(__name__)


@app.post("/<upstream>/stream")
def stream(upstream: str) -> Response:
    body = request.get_json()

    def tokens() -> Iterator[str]:
        chunks = clients[upstream].chat.completions.create(
            model=body["model"],
            messages=[{"role": "user", "content": body["prompt"]}],
            stream=True,
        )
        for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                yield f"data: {json.dumps({'token': chunk.choices[0].delta.content})}\n\n"
        yield "data: [DONE]\n\n"

    return Response(stream_with_context(tokens()), mimetype="text/event-stream")
