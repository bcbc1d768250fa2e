"""The blog post's app, with further routes of the tests; started by real WSGI servers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Flask, Response, request

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "flask_plain"))
from app import app as example  # type: ignore[import-not-found]
from app import hw

from headwater import RequestBody
from headwater.adapters.flask import stream_response

app: Flask = example


def body() -> Any:
    return request.json


@app.post("/cancel")
def cancel() -> Response:
    wire = request.args.get("wire", "plain")
    return stream_response(hw, body()["prompt"], on_disconnect="cancel", wire=wire)


@app.post("/own")
def own() -> Response:
    return stream_response(hw, words(body()["words"], body()["gap_s"]))


@app.post("/body/<wire>")
def of_an_sdk(wire: str) -> Response:
    return stream_response(hw, RequestBody(request.get_json(force=True)), wire=wire)


@app.post("/failing")
def failing() -> Response:
    return stream_response(hw, breaking(body()["words"]))


@app.post("/asked-about")
def asked_about() -> Response:
    def said() -> Iterator[str]:
        yield "path: "
        time.sleep(0.1)
        yield request.path

    return stream_response(hw, said())


@app.post("/leaving")
def leaving() -> Response:
    return stream_response(hw, noted(Path(body()["file"])), on_disconnect="cancel")


@app.after_request
def replace(response: Response) -> Response:
    return Response(status=418) if "replaced" in request.args else response


@app.after_request
def name_the_worker(response: Response) -> Response:
    response.headers["Worker"] = str(os.getpid())
    return response


def words(those: list[str], gap_s: float) -> Iterator[str]:
    for word in those:
        yield word
        time.sleep(gap_s)


def breaking(those: list[str]) -> Iterator[str]:
    yield from those
    raise ValueError("with a secret in it")


def noted(file: Path) -> Iterator[str]:
    """Speaks for a minute; writes into `file` when it is closed before."""
    try:
        for number in range(600):
            yield f"{number} "
            time.sleep(0.1)
    finally:
        file.write_text("closed")
