"""One cell of the compatibility matrix with a Python client, or curl: what `run.mjs` is in Node."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx
import openai
from openai.types.responses import Response, ResponseStreamEvent


@dataclass
class Seen:
    """What the client saw."""

    text: str = ""
    pieces: int = 0
    end: str | None = None
    error: dict[str, Any] | None = None

    def piece(self, text: str | None) -> bool:
        """Whether it was the first one."""
        if not text:
            return False
        self.text += text
        self.pieces += 1
        return self.pieces == 1


def ask(client: str, cell: str, prompt: str, base: str) -> Seen:
    """What the client sees of the answer to `prompt`."""
    seen = Seen()
    try:
        CLIENTS[client](seen, cell, prompt, base)
    except (openai.OpenAIError, anthropic.AnthropicError, RefusedError) as error:
        status = getattr(error, "status_code", None)
        name = getattr(error, "shown", type(error).__name__)
        seen.error = {"name": name, "status": status, "message": str(error)}
    return seen


class RefusedError(Exception):
    """An error that the client only hands over; `shown` is how."""

    def __init__(self, message: str, shown: str, status: int | None = None) -> None:
        super().__init__(message)
        self.shown = shown
        self.status_code = status


def _stop(base: str, stream: str) -> None:
    assert httpx.delete(f"{base}/v1/streams/{stream}").status_code == 204


def openai_chat(seen: Seen, cell: str, prompt: str, base: str) -> None:
    with openai.OpenAI(base_url=f"{base}/v1", api_key="x", max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="m", messages=[{"role": "user", "content": prompt}], stream=True
        )
        for chunk in raw.parse():
            choice = chunk.choices[0]
            if seen.piece(choice.delta.content) and cell == "stop":
                _stop(base, raw.headers["Headwater-Stream"])
            seen.end = choice.finish_reason or seen.end


def openai_responses(seen: Seen, cell: str, prompt: str, base: str) -> None:
    with openai.OpenAI(base_url=f"{base}/v1", api_key="x", max_retries=0) as client:

        def response_of(event: ResponseStreamEvent) -> Response | None:
            """The response that this event ends; an error is one."""
            match event.type:
                case "response.output_text.delta":
                    if seen.piece(event.delta) and cell == "stop":
                        client.responses.cancel(name)
                case "error":
                    raise RefusedError(event.message, "an `error` event")
                case "response.completed" | "response.incomplete":
                    return event.response
            return None

        name, last = "", -1
        with client.responses.create(model="m", input=prompt, stream=True) as asked:
            for event in asked:
                last = event.sequence_number
                if event.type == "response.created":
                    name = event.response.id
                _response_end(seen, response_of(event))
                if cell == "resume" and seen.pieces == 2:
                    break
        if cell == "resume":
            for event in client.responses.retrieve(name, stream=True, starting_after=last):
                _response_end(seen, response_of(event))


def _response_end(seen: Seen, response: Response | None) -> None:
    if response is not None:
        details = response.incomplete_details
        seen.end = ", ".join([response.status or "", *([str(details.reason)] if details else [])])


def anthropic_messages(seen: Seen, cell: str, prompt: str, base: str) -> None:
    with (
        anthropic.Anthropic(base_url=base, api_key="x", max_retries=0) as client,
        client.messages.stream(
            model="m", max_tokens=9, messages=[{"role": "user", "content": prompt}]
        ) as stream,
    ):
        for text in stream.text_stream:
            if seen.piece(text) and cell == "stop":
                _stop(base, stream.response.headers["Headwater-Stream"])
        message = stream.get_final_message()
        assert message.content[0].type == "text"
        assert message.content[0].text == seen.text
        seen.end = message.stop_reason


def curl(seen: Seen, cell: str, prompt: str, base: str) -> None:
    """The plain wire; a resume is by hand: the stream's id and the last `id:`."""
    body = {"prompt": prompt, "base_url": "x"} if cell == "error before" else {"prompt": prompt}
    stream, last = _curl(seen, cell, base, ["-d", json.dumps(body), f"{base}/stream"])
    if cell == "resume":
        again = ["-H", f"Last-Event-ID: {last}", f"{base}/v1/streams/{stream}?wire=plain"]
        _curl(seen, "", base, again)


def _curl(seen: Seen, cell: str, base: str, arguments: list[str]) -> tuple[str, str]:
    command = ["curl", "-sSN", "-D", "-", "--max-time", "20", *arguments]
    stream, last, status = "", "", 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for raw in process.stdout:
            line = raw.decode().rstrip("\r\n")
            name, _, value = line.partition(": ")
            if line.startswith("HTTP/"):
                status = int(line.split()[1])
            elif name.lower() == "headwater-stream":
                stream = value
            elif name == "id":
                last = value
            elif name == "data" and value == "[DONE]":
                seen.end = value
            elif name == "data" and "error" in json.loads(value):
                raise RefusedError(json.loads(value)["error"], "an `error` line")
            elif name == "data":
                if seen.piece(json.loads(value)["token"]) and cell == "stop":
                    _stop(base, stream)
                if cell == "resume" and seen.pieces == 2:
                    process.terminate()
                    break
            elif line.startswith("{") and status >= 400:
                raise RefusedError(json.loads(line)["error"]["message"], "status", status)
    return stream, last


CLIENTS: dict[str, Callable[[Seen, str, str, str], None]] = {
    "openai chat": openai_chat,
    "openai responses": openai_responses,
    "anthropic": anthropic_messages,
    "curl": curl,
}
