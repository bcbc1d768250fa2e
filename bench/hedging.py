"""`python -m bench.hedging`: how long a reader waits for the first token, with and without hedging.

Two upstreams on loopback, real HTTP, and one `headwater serve` a configuration. An upstream's time
to the first token is log-normal; a few of its requests are many times slower. Requests arrive at
random times, whether or not earlier ones were answered, as readers do. Both configurations see the
same arrivals, and their upstreams draw the same times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from bench.processes import Program
from headwater.testing import FaultyUpstream
from headwater.testing.answers import Answer, chat
from headwater.testing.upstream import Request

_MEDIAN_S: Final = 0.3
_SIGMA: Final = 0.4
_SLOW_SHARE: Final = 0.03
_SLOW_TIMES: Final = 20
# An arrival every so often: far from what two cores can do, so that only the upstreams are slow.
_PER_SECOND: Final = 40
_STARTS_S: Final = 20.0

_CONFIGURATION: Final = """
[providers.one]
base_url = "{one}"
[providers.two]
base_url = "{two}"
[models.answer]
route = ["one/test-model", "two/test-model"]
{hedge}
"""


class Outcome(NamedTuple):
    """Seconds to the first token of each request, and what the upstreams were asked in all."""

    first_token_s: list[float]
    asked: int


class Upstream(FaultyUpstream):
    """Answers after a time that is drawn anew for each request."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        super().__init__(self._draw)

    def _draw(self, request: Request) -> Answer:
        wait = self._random.lognormvariate(math.log(_MEDIAN_S), _SIGMA)
        if self._random.random() < _SLOW_SHARE:
            wait *= _SLOW_TIMES
        answer = chat(["Hello", " world"])
        return Answer([wait, *answer.steps], headers=answer.headers)


def measure(hedge: str, requests: int, seed: int) -> Outcome:
    """Start all of it with this line of the model's table, ask, and end it."""
    with (
        Upstream(seed + 1) as one,
        Upstream(seed + 2) as two,
        tempfile.TemporaryDirectory(prefix="headwater-bench-") as work,
    ):
        config = Path(work) / "headwater.toml"
        config.write_text(_CONFIGURATION.format(one=one.url, two=two.url, hedge=hedge))
        command: list[str | Path] = [
            Path(sys.executable).with_name("headwater"),
            *("serve", "--port", "0", "--config", str(config)),
        ]
        with Program(command, log=Path(work) / "log") as program:
            times = asyncio.run(_ask_all(_url(program), requests, seed))
        return Outcome(times, len(one.posts) + len(two.posts))


def _url(program: Program) -> str:
    """Where the server listens, as it says itself."""
    deadline = time.monotonic() + _STARTS_S
    while program.running and time.monotonic() < deadline:
        if found := re.search(r"listening on (\S+)", program.log.read_text()):
            return found[1]
        time.sleep(0.05)
    sys.exit(f"the server did not start: {program.last_words()}")


async def _ask_all(url: str, requests: int, seed: int) -> list[float]:
    arrivals = random.Random(seed)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        asked = []
        for _ in range(requests):
            asked.append(asyncio.create_task(_ask(client)))
            await asyncio.sleep(arrivals.expovariate(_PER_SECOND))
        return await asyncio.gather(*asked)


async def _ask(client: httpx.AsyncClient) -> float:
    asked_at = time.monotonic()
    body = {"prompt": "Hi", "model": "answer"}
    first: float | None = None
    async with client.stream("POST", "/v1/streams", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            event = json.loads(line[5:]) if line.startswith("data:") else {}
            if event.get("type") == "text-delta" and first is None:
                first = time.monotonic() - asked_at
    if first is None:
        raise SystemExit("an answer had no token")
    return first


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 when hedging does not do what it is for."""
    parser = argparse.ArgumentParser(prog="python -m bench.hedging", description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20)
    options = parser.parse_args(arguments)
    print(
        f"{options.requests} requests, {_PER_SECOND} a second, seed {options.seed}; first token "
        f"log-normal, median {_MEDIAN_S * 1000:.0f} ms, sigma {_SIGMA}, "
        f"{_SLOW_SHARE:.0%} {_SLOW_TIMES} times slower\n"
    )
    print("| | p50 ms | p95 ms | p99 ms | slowest ms | extra requests |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    rows = {
        "without hedging": measure("", options.requests, options.seed),
        'hedged after "p95"': measure('hedge = { after = "p95" }', options.requests, options.seed),
    }
    for name, (times, asked) in rows.items():
        cells = [f"{percentile(times, share) * 1000:.0f}" for share in (0.5, 0.95, 0.99, 1)]
        print(f"| {name} | {' | '.join(cells)} | {asked / options.requests - 1:.1%} |")
    plain, hedged = rows.values()
    ratio = percentile(plain.first_token_s, 0.99) / percentile(hedged.first_token_s, 0.99)
    extra = hedged.asked / options.requests - 1
    print(f"\np99 is {ratio:.1f} times better (aim: 4) for {extra:.1%} extra requests (aim: 10 %)")
    return 0 if ratio >= 4 and extra <= 0.1 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
