"""Keys of requests whose first one dies."""

from __future__ import annotations

import asyncio

from headwater.requests.claims import Claim, digest_of
from headwater.streams.generation import Generation, StreamOptions
from tests.helpers.hub import ScriptedSource, make_hub


def test_who_has_waited_for_a_dead_first_frees_no_claim_but_its_own() -> None:
    """Several wait. One asks again and is the new first, before another has waited enough."""

    async def scenario() -> None:
        hub = make_hub()
        claim = Claim(hub, "me", "/stream", "key", digest_of({"prompt": "hi"}))
        assert await claim.make("dead") is None
        await claim.drop("dead")
        assert await claim.make("second") is None
        await hub.start(
            Generation(ScriptedSource(), "m"),
            StreamOptions(principal="me", on_disconnect="continue"),
            "second",
        )
        await claim.drop("dead")  # the other one's
        again = await claim.make("third")
        assert again is not None
        assert again.stream == "second"
        await hub.aclose()

    asyncio.run(scenario())
