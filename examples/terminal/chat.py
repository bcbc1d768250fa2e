"""A chat in the terminal: tokens as they come, Ctrl-C stops the answer, a cut one is resumed."""

import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import httpx

from headwater.sse import Decoder

KEY = os.environ.get("HEADWATER_API_KEY")
http = httpx.Client(
    base_url=os.environ.get("HEADWATER_URL", "http://127.0.0.1:8000"),
    headers={"Authorization": f"Bearer {KEY}"} if KEY else {},
    timeout=httpx.Timeout(10, read=40),  # heartbeats come every 15 s, whatever the model does
)


def ask(messages: list[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """Give the events of the answer, each once, over as many connections as it takes."""
    once = {"Idempotency-Key": uuid.uuid4().hex}  # may be sent again, and begins one answer
    request = http.build_request("POST", "/v1/streams", json={"messages": messages}, headers=once)
    while True:
        try:
            with closing(http.send(request, stream=True)) as response:
                if response.is_error:
                    sys.exit(f"HTTP {response.status_code}: {response.read().decode()}")
                path, decoder = f"/v1/streams/{response.headers['Headwater-Stream']}", Decoder()
                for part in response.iter_bytes():
                    for message in decoder.feed(part):
                        after = {"Last-Event-ID": message.id}
                        request = http.build_request("GET", path, headers=after)
                        event = json.loads(message.data)
                        yield event
                        if event["type"] in ("stream-end", "stream-error"):
                            return
        except httpx.TransportError as error:
            print(f"[{error or type(error).__name__}; trying again]", file=sys.stderr)
        time.sleep(1)


def answer(messages: list[dict[str, str]]) -> str:
    """Print the answer as it comes; the text of it, as far as it came."""
    text, stream = "", ""
    try:
        for event in ask(messages):
            if event["type"] == "stream-start":
                stream = event["stream"]
            elif event["type"] == "text-delta":
                text += event["text"]
                print(event["text"], end="", flush=True)
            elif event["type"] == "stream-error":
                print(f"[{event['message']}]", end="")
    except KeyboardInterrupt:
        with suppress(httpx.TransportError):  # without it the server would wait for us
            http.delete(f"/v1/streams/{stream}")
    print()
    return text


messages: list[dict[str, str]] = []
with suppress(EOFError, KeyboardInterrupt):
    while True:
        messages.append({"role": "user", "content": input("> ")})
        messages.append({"role": "assistant", "content": answer(messages)})
