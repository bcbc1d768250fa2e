"""`python -m bench.repair`: how often a repaired answer is the one that an unbroken one would be.

The embedded model is killed at a seeded random token of an answer at temperature 0, and the answer
goes on. That its text begins with what was logged is certain, and counted here too; that it is the
same text is not: a token of the text so far may be read otherwise than it was written.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.machine import this_machine
from headwater import events as ev
from headwater.errors import HeadwaterError
from headwater.requests.parsing import parse
from headwater.requests.pipeline import begin
from headwater.requests.runtime import Runtime
from headwater.routing.models import EMBEDDED
from headwater.settings import Settings

_PROMPTS: Final = (
    "Why is the sky blue?",
    "Name the planets of the solar system and say one thing of each.",
    "Write a short story about a river, from its spring to the sea.",
    "Explain to a child how a bicycle stays upright.",
    "Write a poem about the sea, with an emoji in every line.",
    "Schreibe drei Sätze über den Frühling.",
    "List five reasons to learn to cook, as a Markdown list.",
    "Write a Python function that tells whether a number is prime.",
)
_TOKENS: Final = 64


class Repaired(NamedTuple):
    """One answer that was broken: what was logged before, and all of its text."""

    before: str
    text: str
    seams: int
    ended: bool


async def _answer(prompt: str, kill_at: int | None) -> Repaired:
    """The answer to a prompt by a model of its own, killed behind its `kill_at`th piece."""
    runtime = Runtime(Settings(), {})
    request = parse(
        prompt,
        {"model": EMBEDDED, "temperature": 0, "max_tokens": _TOKENS, "on_disconnect": "continue"},
    )
    pieces: list[str] = []
    before, seams, ended = "", 0, False
    try:
        stream = await begin(runtime, request)
        async for event in stream.events():
            match event:
                case ev.TextDelta(text):
                    pieces.append(text)
                    if len(pieces) == kill_at:
                        _kill_child()
                case ev.StreamRepair():
                    before, seams = "".join(pieces), seams + 1
                case ev.StreamEnd():
                    ended = True
    finally:
        await runtime.aclose()
    return Repaired(before, "".join(pieces), seams, ended)


def _kill_child() -> None:
    """The model's process is the only child of this one."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    for child in children.split():
        os.kill(int(child), signal.SIGKILL)


async def _run(kills: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    unbroken = {prompt: (await _answer(prompt, None)).text for prompt in _PROMPTS}
    equal = promised = repaired = 0
    for number in range(kills):
        prompt = _PROMPTS[number % len(_PROMPTS)]
        answer = await _answer(prompt, chance.randint(1, 48))
        if answer.seams == 0:  # it had been generated before the model died
            continue
        repaired += 1
        promised += answer.text.startswith(answer.before) and answer.seams == 1 and answer.ended
        equal += answer.text == unbroken[prompt]
        print(f"{number + 1} of {kills}", file=sys.stderr, end="\r")
    return [
        f"{kills} kills at random tokens (seed {seed}), {repaired} of them before the end.",
        f"Begins with what was logged, one seam, one end: {promised} of {repaired}.",
        f"Equal to the unbroken text: {equal} of {repaired}.",
        f"{this_machine().text}, {this_machine().date}.",
    ]


def main(arguments: Sequence[str]) -> int:
    """Print the figures; 1 where the embedded model is not here."""
    parser = argparse.ArgumentParser(prog="python -m bench.repair", description=__doc__)
    parser.add_argument("--kills", type=int, default=48, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    options = parser.parse_args(arguments)
    try:
        print("\n".join(asyncio.run(_run(options.kills, options.seed))))
    except HeadwaterError as error:
        print(f"bench.repair: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
