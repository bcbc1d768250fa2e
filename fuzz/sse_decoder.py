"""Random streams, cut at random: the decoder against the standard's own words.

    python fuzz/sse_decoder.py --seconds 10 [--seed 1]

Mutates a small corpus with fragments that matter to the format. A difference, an error that is not
the bound's, or a bound not kept ends the run with exit status 1 and prints the stream and its cuts,
to be made a row of tests/sse/test_decoder.py.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CORPUS = [
    b"\xef\xbb\xbf: hi\r\n\r\nid: 1-1\r\nevent: a\r\ndata: {}\r\n\r\n",
    b'data: {"choices":[{"delta":{"content":"\xc3\xa9"}}]}\n\ndata: [DONE]\n\n',
    b"event: ping\rdata\rdata:\rretry: 10\r\rid\rdata: x\r\r",
    b": keep-alive\n\ndata: a\ndata: b\nid: \0\n\ndata: unfinished",
]
FRAGMENTS = [
    *(b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b"\n\r", b":", b" ", b"\0", b"\xef\xbb\xbf"),
    *(b"data: ", b"data:", b"data", b"id: 7", b"id", b"event: e", b"retry: 9", b": c", b"\xff"),
    *(b"\xe2\x80\xa8", b"\xc2\x85", b"\xf0\x9f\x98\x80", b"d", b"x" * 100),
]


def mutate(source: random.Random) -> bytes:
    """Make one stream of a few corpus entries, with insertions, deletions and flips."""
    stream = bytearray(b"".join(source.choices(CORPUS + FRAGMENTS, k=source.randrange(1, 12))))
    for _ in range(source.randrange(12)):
        at = source.randrange(len(stream) + 1)
        action = source.randrange(4)
        if action == 0:
            stream[at:at] = source.choice(FRAGMENTS)
        elif action == 1:
            del stream[at : at + source.randrange(8)]
        elif action == 2:
            stream[at : at + 1] = source.randbytes(1)
        else:
            stream[at:at] = stream[: source.randrange(20)]
    return bytes(stream)


def differs(stream: bytes, cuts: list[int]) -> str | None:
    """Compare decoder and standard on one stream; None when they agree."""
    from tests.sse.reference import interpret

    from headwater.sse import Decoder, SSEError

    ends = [0, *cuts, len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(ends)]
    decoder, small = Decoder(), Decoder(max_event_bytes=64)
    messages = [message for chunk in chunks for message in decoder.feed(chunk)]
    rest = decoder.flush()
    got = [(m.data.decode(errors="replace"), m.event, m.id) for m in messages]
    pending = rest and (rest.data.decode(errors="replace"), rest.event, rest.id)
    expected = interpret(stream)
    if (got, pending) != (expected.messages, expected.pending):
        return f"decoded {got} and {pending}, the standard says {expected}"
    if (decoder.comments, decoder.retry) != (expected.comments, expected.retry):
        # flush() may complete a comment or a retry that the standard discards with its line.
        tail = interpret(stream + b"\n")
        if (decoder.comments, decoder.retry) != (tail.comments, tail.retry):
            return f"comments {decoder.comments}, retry {decoder.retry}; {expected}"
    try:
        kept = [message for chunk in chunks for message in small.feed(chunk)]
    except SSEError:
        return None
    too_long = [m for m in kept if len(m.data) > 64]
    return f"beyond the bound: {too_long}" if too_long else None


def main() -> int:
    """Run until the time is up; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    source = random.Random(seed)  # noqa: S311 - to be repeated by its seed, not to be secret
    end = time.monotonic() + options.seconds
    count = 0
    while time.monotonic() < end:
        stream = mutate(source)
        cuts = sorted(source.choices(range(len(stream) + 1), k=source.randrange(10)))
        if (difference := differs(stream, cuts)) is not None:
            print(f"seed {seed}\nstream {stream!r}\ncuts {cuts}\n{difference}", file=sys.stderr)
            return 1
        count += 1
    print(f"{count} streams, no difference (seed {seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
