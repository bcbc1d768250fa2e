"""The relay that everybody writes, with Flask: here to be compared with, not to be copied."""

import json
import os

from flask import Flask, Response, request, stream_with_context
from openai import OpenAI, OpenAIError

app = Flask(__name__)
client = OpenAI(base_url=os.environ.get("OPENAI_BASE_URL"), api_key=os.environ["OPENAI_API_KEY"])
MODEL = os.environ.get("MODEL", "gpt-5-mini")


@app.post("/stream")
def stream() -> Response:
    prompt = request.json["prompt"]

    def tokens():
        try:
            chunks = client.chat.completions.create(
                model=MODEL,
                messages=[{"role": "user", "content": prompt}],
                stream=True,
            )
            for chunk in chunks:
                if chunk.choices and chunk.choices[0].delta.content:
                    token = chunk.choices[0].delta.content
                    yield f"data: {json.dumps({'token': token})}\n\n"
        except OpenAIError as error:
            yield f"data: {json.dumps({'error': str(error)})}\n\n"
        yield "data: [DONE]\n\n"

    return Response(
        stream_with_context(tokens()),
        mimetype="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )
