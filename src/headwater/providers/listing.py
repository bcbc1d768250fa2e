"""`GET {base_url}/models`: which models an OpenAI-compatible provider says it has."""

from __future__ import annotations

from typing import Final

import msgspec

from headwater.upstream import Pool, Request, fetch

# Long enough for a slow local server.
_TIMEOUT_S: Final = 5.0


class _Listed(msgspec.Struct):
    id: str


class _Listing(msgspec.Struct):
    data: list[_Listed] = []


async def list_models(client: Pool, base_url: str, key: str | None) -> list[str]:
    """Their ids in the provider's order; none when it does not say. `UpstreamError` without answer.

    `key` is sent as a bearer token.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = Request("GET", f"{base_url.rstrip('/')}/models", headers)
    answer = await fetch(client, request, _TIMEOUT_S)
    if answer.status != 200:
        return []
    try:
        return [model.id for model in msgspec.json.decode(answer.body, type=_Listing).data]
    except msgspec.DecodeError:
        return []
