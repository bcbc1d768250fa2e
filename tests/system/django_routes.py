"""The example's app, with further routes of the tests; started by real WSGI and ASGI servers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
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
        app.hw,
        json.loads(request.body)["prompt"],
        request=request,
        on_disconnect="cancel",
        wire=request.GET.get("wire", "plain"),
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


def replacing(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """Middleware that answers something else in place of a response, and forgets to close it."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        return HttpResponse(status=418) if "replaced" in request.GET else response

    return answer


settings.SECRET_KEY = "of the tests"
settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
#: Whatever of Django's own looks at a response.
settings.MIDDLEWARE = [
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
    f"{__name__}.replacing",
]
wsgi, asgi = get_wsgi_application(), get_asgi_application()
