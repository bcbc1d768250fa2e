"""The example's app, with further routes of the tests; started by real WSGI and ASGI servers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.http import HttpRequest
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "django_plain"))
import app  # type: ignore[import-not-found]

from headwater import RequestBody
from headwater.adapters.django import astream_response, stream_response


async def asynchronous(request: HttpRequest) -> Any:
    return await astream_response(app.hw, json.loads(request.body)["prompt"], request=request)


def cancel(request: HttpRequest) -> Any:
    return stream_response(
        app.hw, json.loads(request.body)["prompt"], request=request, on_disconnect="cancel"
    )


def openai(request: HttpRequest) -> Any:
    return stream_response(
        app.hw, json.loads(request.body)["prompt"], request=request, wire="openai"
    )


def of_an_sdk(request: HttpRequest, wire: str) -> Any:
    return stream_response(app.hw, RequestBody(json.loads(request.body)), wire=wire)


app.urlpatterns += [
    path("body/<str:wire>", csrf_exempt(of_an_sdk)),
    path("async", csrf_exempt(asynchronous)),
    path("cancel", csrf_exempt(cancel)),
    path("openai", csrf_exempt(openai)),
]
wsgi, asgi = app.wsgi, app.asgi
