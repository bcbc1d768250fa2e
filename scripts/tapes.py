"""Makes the tapes that come with the package: `.venv/bin/python scripts/tapes.py [FOLDER]`.

The texts are written for them, the times are drawn: the same seed gives the same bytes. Each tape
is printed with its seed, its pieces, its first token and its length.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from headwater import events as ev
from headwater.providers.tape.file import text
from headwater.providers.tape.shipped import FOLDER

STORY = """\
High in the hills, where the map shows little but contour lines, a river begins. Nothing marks \
the place. Rain has soaked into the slope for weeks, and here, where the soil thins over rock, \
it comes out again: a patch of moss, a bead of water, a trickle no wider than a hand. Such \
places are called headwaters, and they are easy to overlook. Yet of all the channels between the \
ridge and the sea, laid end to end, the small ones that nobody has named are the greater part.

A trickle does not wait until it is a river before it sets out. It goes at once, with what it \
has. It meets a second trickle, and a third; each brings its share, and none is asked to stand \
aside until the others have finished. Below the tree line the water is loud enough to hear. \
Further on it turns a wheel, and further still it carries boats.

Follow it down and you will see it held up. A beaver has built a dam, a slope has slipped, a \
winter has locked the surface under ice. The river does not begin again from its source on that \
account. It rises behind the obstacle, finds the lowest place, and goes on from there. What has \
passed has passed, and what is still to come arrives in its order.

Nobody on the bank has ever seen the whole of it at once. They have seen it go by, each from \
where they stood, and that was enough to drink from.

Perhaps a long story should be told like that: begin with the first drop.
"""

SLOW_START = """\
Some springs answer late. On the chalk downs of southern England there are streams that the \
people there call winterbournes. In autumn their beds are dry, and it may rain for weeks without \
a change, because the water sinks through the rock as through a sponge. Only when the water \
table has risen as far as the bed does the stream begin, sometimes months after the first rain, \
and then it runs clear and steady into the spring.

From the bank, the wait looks the same as a stream that will never come. That is what a long \
silence before the first word does to a reader: it cannot be told from a failure. So a server \
that waits for a model sends a sign of life now and then, a comment on the wire that no page \
shows and every proxy counts as traffic. The water is on its way.
"""

THOUGHTS = """\
They want to know how quickly large rivers would fill an Olympic pool. I need the volume of the \
pool and the mean discharge of each river. The pool is 50 m by 25 m and 2 m deep, so 2,500 cubic \
metres. Amazon about 209,000 m³/s: 2500 / 209000 is 0.012 s. Congo about 41,000: 0.061 s. Rhine \
about 2,900: 0.86 s. Thames about 66: 38 s. Discharge varies with the season, so I should say \
that these are means. A table, then the calculation.
"""

REASONED = """\
An Olympic pool holds **2,500 m³** (50 × 25 × 2 m). With their mean discharge, these rivers fill \
it in:

| river | mean discharge | fills the pool in |
|---|---:|---:|
| Amazon | about 209,000 m³/s | 12 ms |
| Congo | about 41,000 m³/s | 61 ms |
| Rhine | about 2,900 m³/s | 0.86 s |
| Thames, above the tide | about 66 m³/s | 38 s |

The calculation is one division:

```python
POOL_M3 = 50 * 25 * 2


def seconds_to_fill(discharge_m3_s: float) -> float:
    return POOL_M3 / discharge_m3_s


for river, discharge in {"Amazon": 209_000, "Rhine": 2_900, "Thames": 66}.items():
    print(f"{river}: {seconds_to_fill(discharge):.3f} s")
```

These are means over many years. In flood, a river may carry *many times* its mean, and in a dry \
summer the Thames needs minutes.
"""

BEFORE_TOOLS = "I will look at both gauges first.\n"
ARGUMENTS = {
    "call_1": '{"station": "Kingston", "river": "Thames", "quantity": "flow", "hours": 24}',
    "call_2": '{"station": "Lobith", "river": "Rhine", "quantity": "flow", "hours": 24}',
}

BURSTY = """\
Watch a canal lock from the towpath. Boats come up to it one by one, and leave it in batches. \
The chamber fills, the gates open, four boats move out together, and then there is nothing to \
see until it has emptied and filled again. No boat was lost and none was turned away. What is \
gone is the rhythm in which they came.

A proxy that buffers does the same to a stream. It reads the tokens as they arrive, keeps them \
until it has a few kilobytes, and passes them on together. Every byte is right, in the right \
order, and still the page seems broken: it stands still, then it jumps, then it stands still.

Two things usually do it. One is response buffering, which nginx leaves off for an answer that \
has `X-Accel-Buffering: no`. The other is compression, since a compressor likes to see more \
before it writes. Take both out of the way of `text/event-stream`, and each token passes when it \
comes.
"""

#: From the last pieces of one read to those of the next: how many, and how many milliseconds later.
Rhythm = Callable[[random.Random], tuple[int, float]]


def pieces(words: str) -> list[str]:
    """Cut a text about as a model's tokens would."""
    return re.findall(r" ?[^\W_]{1,8}|\n+| +|.", words)


def steadily(mean_ms: float) -> Rhythm:
    """One at a time, like a model on its own machine, with a short breath now and then."""

    def gap(draw: random.Random) -> tuple[int, float]:
        breath = 4.0 if draw.random() < 0.02 else 1.0
        return 1, mean_ms * breath * (0.6 + 0.7 * draw.random())

    return gap


def in_bursts(draw: random.Random) -> tuple[int, float]:
    """Many at once, then silence: what a buffering proxy makes of it."""
    return draw.randint(14, 28), 500 + 400 * draw.random()


def spoken(thoughts: str, answer: str) -> list[ev.Event]:
    """Thoughts, and then an answer, a piece an event."""
    return [
        *(ev.ReasoningDelta(piece) for piece in pieces(thoughts)),
        *(ev.TextDelta(piece) for piece in pieces(answer)),
    ]


def calling() -> Iterator[ev.Event]:
    """A word, then two calls whose arguments come in fragments."""
    yield from spoken("", BEFORE_TOOLS)
    for call, arguments in ARGUMENTS.items():
        yield ev.ToolCallStart(call, "river_gauge")
        yield from (ev.ToolCallDelta(call, piece) for piece in pieces(arguments))
        yield ev.ToolCallEnd(call)


def timed(
    events: list[ev.Event], first_ms: float, rhythm: Rhythm, draw: random.Random
) -> list[tuple[float, ev.Event]]:
    """Each event with the time of the read that brings it."""
    lines: list[tuple[float, ev.Event]] = []
    at = first_ms
    while len(lines) < len(events):
        count, gap = rhythm(draw)
        lines += [(round(at, 1), event) for event in events[len(lines) : len(lines) + count]]
        at += gap
    return lines


def end(
    lines: list[tuple[float, ev.Event]], asked: str, reason: ev.FinishReason
) -> tuple[float, ev.StreamEnd]:
    """The terminal event: it comes with the last piece, and counts pieces as tokens."""
    at = lines[-1][0]
    counted = [
        event for _, event in lines if not isinstance(event, (ev.ToolCallStart, ev.ToolCallEnd))
    ]
    thoughts = sum(isinstance(event, ev.ReasoningDelta) for event in counted)
    usage = ev.Usage(len(pieces(asked)), len(counted))
    if thoughts:
        usage = ev.Usage(len(pieces(asked)), len(counted), thoughts)
    timing = ev.Timing(0, None, lines[0][0], at, 0, 1)
    return at, ev.StreamEnd(reason, usage, timing)


TAPES: dict[str, tuple[str, list[ev.Event], float, Rhythm]] = {
    "story": ("Tell me how a river begins.", spoken("", STORY), 400, steadily(25)),
    "slow-start": ("Why do some streams begin late?", spoken("", SLOW_START), 4000, steadily(25)),
    "reasoning": (
        "How fast would a great river fill an Olympic pool?",
        spoken(THOUGHTS, REASONED),
        600,
        steadily(18),
    ),
    "tools": ("Which carries more today, Thames or Rhine?", list(calling()), 500, steadily(30)),
    "bursty": ("What does a buffering proxy do to a stream?", spoken("", BURSTY), 900, in_bursts),
}


def main(folder: Path) -> None:
    """Write every tape into `folder`."""
    for seed, (name, (asked, events, first_ms, rhythm)) in enumerate(TAPES.items(), 1):
        lines = timed(events, first_ms, rhythm, random.Random(seed))  # noqa: S311 - no secret
        last = end(lines, asked, "tool-calls" if name == "tools" else "stop")
        data = b"".join(text(at, event) for at, event in [*lines, last])
        (folder / f"{name}.tape").write_bytes(data)
        print(
            f"{name}: seed {seed}, {len(lines)} pieces, first token {first_ms / 1000:g} s, "
            f"{last[0] / 1000:.1f} s in all, {len(data) / 1000:.1f} kB"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
