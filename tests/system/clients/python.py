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
        if cell == "tools":
            TURNS[client](seen, prompt, base)
        else:
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


# Two turns: the model calls a tool, the client answers it, the model goes on.

PARAMETERS: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}}


def _weather(arguments: Any) -> str:
    return f"rain in {arguments['city']}"


def chat_turns(seen: Seen, prompt: str, base: str) -> None:
    function: Any = {"name": "weather", "parameters": PARAMETERS}
    messages: list[Any] = [{"role": "user", "content": prompt}]
    with openai.OpenAI(base_url=f"{base}/v1", api_key="x", max_retries=0) as client:
        for _ in range(2):
            with client.chat.completions.stream(
                model="m", messages=messages, tools=[{"type": "function", "function": function}]
            ) as stream:
                for event in stream:
                    if event.type == "content.delta":
                        seen.piece(event.delta)
                message = stream.get_final_completion().choices[0].message
            messages.append(message.to_dict())
            for call in message.tool_calls or ():
                content = _weather(json.loads(call.function.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
    seen.end = "`tool_calls`"


def responses_turns(seen: Seen, prompt: str, base: str) -> None:
    tool: Any = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}
    items: list[Any] = [{"role": "user", "content": prompt}]
    with openai.OpenAI(base_url=f"{base}/v1", api_key="x", max_retries=0) as client:
        for _ in range(2):
            with client.responses.stream(model="m", input=items, tools=[tool]) as stream:
                for event in stream:
                    if event.type == "response.output_text.delta":
                        seen.piece(event.delta)
                output = stream.get_final_response().output
            items += [item.to_dict() for item in output]
            for item in output:
                if item.type == "function_call":
                    answer = {
                        "call_id": item.call_id,
                        "output": _weather(json.loads(item.arguments)),
                    }
                    items.append({"type": "function_call_output", **answer})
    seen.end = "`function_call`"


def messages_turns(seen: Seen, prompt: str, base: str) -> None:
    tool: anthropic.types.ToolParam = {"name": "weather", "input_schema": PARAMETERS}
    said: list[Any] = [{"role": "user", "content": prompt}]
    with anthropic.Anthropic(base_url=base, api_key="x", max_retries=0) as client:
        for _ in range(2):
            with client.messages.stream(
                model="m", max_tokens=9, messages=said, tools=[tool]
            ) as stream:
                for text in stream.text_stream:
                    seen.piece(text)
                content = stream.get_final_message().content
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": _weather(block.input)}
                for block in content
                if block.type == "tool_use"
            ]
            said += [
                {"role": "assistant", "content": content},
                {"role": "user", "content": results},
            ]
    seen.end = "`tool_use`"


TURNS: dict[str, Callable[[Seen, str, str], None]] = {
    "openai chat": chat_turns,
    "openai responses": responses_turns,
    "anthropic": messages_turns,
}
