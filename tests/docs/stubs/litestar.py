"""As much of Litestar as the documentation uses, and as Litestar 2.25 was seen to do it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Application = Callable[[Any, Any, Any], Awaitable[None]]


class Mounted:
    """An application below a path."""

    def __init__(self, path: str, application: Application) -> None:
        self.path = path
        self.application = application


def asgi(path: str, *, is_mount: bool, copy_scope: bool) -> Callable[[Application], Mounted]:
    """Mount an application: its paths come to it without `path`, and with a slash at the end."""
    return lambda application: Mounted(path, application)


class Litestar:
    """Hands a request on to what is mounted."""

    def __init__(self, mounted: list[Mounted]) -> None:
        self.mounted = mounted

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            [found] = [m for m in self.mounted if scope["path"].startswith(m.path)]
            path = scope["path"].removeprefix(found.path) + "/"
            await found.application({**scope, "path": path}, receive, send)
