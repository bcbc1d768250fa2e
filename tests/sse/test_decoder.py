from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.sse import Decoder, Message, SSEError
from tests.sse.reference import Interpretation, interpret

M = Message
#: What Python takes for line ends, and the standard does not.
OTHER_ENDS = "a\u2028b\x85c\x0bd\x0ce\x1cf".encode()

# (name, stream, messages). The standard's own examples are those of its section 9.2.6.
TABLE: list[tuple[str, bytes, list[Message]]] = [
    ("nothing", b"", []),
    ("blank lines", b"\n\n\r\n\r\r", []),
    ("one", b"data: a\n\n", [M(b"a")]),
    ("standard: stocks", b"data: YHOO\ndata: +2\ndata: 10\n\n", [M(b"YHOO\n+2\n10")]),
    (
        "standard: four blocks",
        b": test stream\n\ndata: first\nid: 1\n\ndata:second\nid\n\ndata:  third\n",
        [M(b"first", id="1"), M(b"second")],
    ),
    ("standard: empty data", b"data\n\ndata\ndata\n\ndata:", [M(b""), M(b"\n")]),
    ("standard: one space", b"data:test\n\ndata: test\n\n", [M(b"test")] * 2),
    ("only one space is removed", b"data:  a \n\n", [M(b" a ")]),
    ("a tab is not a space", b"data:\ta\n\n", [M(b"\ta")]),
    ("an id keeps its spaces", b"id:  1 \ndata: a\n\n", [M(b"a", id=" 1 ")]),
    ("colons in a value", b"data: {:}::\n\n", [M(b"{:}::")]),
    ("CRLF", b"data: a\r\ndata: b\r\n\r\n", [M(b"a\nb")]),
    ("CR", b"data: a\rdata: b\r\r", [M(b"a\nb")]),
    ("LF CR is two ends", b"data: a\n\rdata: b\n\r", [M(b"a"), M(b"b")]),
    ("CR LF CR", b"data: a\r\n\rdata: b\n\r\n", [M(b"a"), M(b"b")]),
    ("mixed", b"data: a\rdata: b\ndata: c\r\n\r\ndata: d\n\n", [M(b"a\nb\nc"), M(b"d")]),
    ("CR CR LF", b"data: a\r\r\ndata: b\r\r\n", [M(b"a"), M(b"b")]),
    ("other line ends are data", b"data: " + OTHER_ENDS + b"\n\n", [M(OTHER_ENDS)]),
    ("event", b"event: add\ndata: 1\n\ndata: 2\n\n", [M(b"1", event="add"), M(b"2")]),
    ("event without data", b"event: add\n\ndata: 2\n\n", [M(b"2")]),
    ("empty event", b"event: add\nevent\ndata: 1\n\n", [M(b"1")]),
    ("the last event wins", b"event: a\nevent: b\ndata: 1\n\n", [M(b"1", event="b")]),
    ("an id stays", b"id: 1\ndata: a\n\ndata: b\n\n", [M(b"a", id="1"), M(b"b", id="1")]),
    ("an id without data stays", b"id: 1\n\ndata: b\n\n", [M(b"b", id="1")]),
    ("an empty id resets", b"id: 1\ndata: a\n\nid\ndata: b\n\n", [M(b"a", id="1"), M(b"b")]),
    ("NUL in an id", b"id: 1\n\nid: 2\x003\ndata: b\n\n", [M(b"b", id="1")]),
    ("NUL elsewhere", b"event: \0\ndata: \0\n\n", [M(b"\0", event="\0")]),
    ("comments", b":\n: ping\n:data: no\ndata: a\n: in between\ndata: b\n\n", [M(b"a\nb")]),
    ("a comment separates nothing", b"data: a\n: ping\n\n", [M(b"a")]),
    ("unknown fields", b"foo\ndatas: x\nDATA: x\n data: x\ndata : x\ndata: a\n\n", [M(b"a")]),
    ("BOM", b"\xef\xbb\xbfdata: a\n\n", [M(b"a")]),
    ("only one BOM", b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [M(b"b")]),
    ("BOM, then a comment", b"\xef\xbb\xbf: hi\n\ndata: b\n\n", [M(b"b")]),
    ("BOM later is data", b"data: \xef\xbb\xbf\n\n\xef\xbb\xbfdata: b\n\n", [M(b"\xef\xbb\xbf")]),
    ("half a BOM", b"\xef\xbbdata: a\n\ndata: b\n\n", [M(b"b")]),
    ("BOM alone", b"\xef\xbb\xbf", []),
    ("UTF-8", "data: é😀\n\n".encode(), [M("é😀".encode())]),
    ("invalid bytes are kept", b"data: \xff\xc3\n\n", [M(b"\xff\xc3")]),
    ("invalid bytes in an event's name", b"event: \xff\ndata: a\n\n", [M(b"a", event="\ufffd")]),
    ("unterminated", b"data: a\n\ndata: b\n", [M(b"a")]),
    ("unterminated line", b"data: a\n\ndata: b", [M(b"a")]),
    ("many in one read", b"data: a\n\n" * 1000, [M(b"a")] * 1000),
]  # fmt: skip


def feed(chunks: Iterable[bytes]) -> tuple[list[Message], Decoder]:
    decoder = Decoder()
    return [m for chunk in chunks for m in decoder.feed(chunk)], decoder


def cut(stream: bytes, at: Iterable[int]) -> list[bytes]:
    ends = [0, *sorted(at), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(ends)]


@pytest.mark.parametrize(("stream", "messages"), [t[1:] for t in TABLE], ids=[t[0] for t in TABLE])
class TestTable:
    def test_the_reference_agrees(self, stream: bytes, messages: list[Message]) -> None:
        expected = [(m.data.decode(errors="replace"), m.event, m.id) for m in messages]
        assert interpret(stream).messages == expected

    def test_whole(self, stream: bytes, messages: list[Message]) -> None:
        assert feed([stream])[0] == messages

    def test_byte_by_byte(self, stream: bytes, messages: list[Message]) -> None:
        assert feed(cut(stream, range(len(stream))))[0] == messages

    def test_cut_in_two(self, stream: bytes, messages: list[Message]) -> None:
        for at in range(min(len(stream), 200)):
            assert feed(cut(stream, [at]))[0] == messages, at

    def test_cut_in_three(self, stream: bytes, messages: list[Message]) -> None:
        for at in itertools.combinations_with_replacement(range(min(len(stream), 40)), 2):
            assert feed(cut(stream, at))[0] == messages, at

    def test_followed_by_another(self, stream: bytes, messages: list[Message]) -> None:
        fresh = b"\n\nid: 9\ndata: next\n\n"
        expected = interpret(stream + fresh).messages
        for chunks in ([stream, fresh], [stream + fresh], [stream, b"", fresh[:1], fresh[1:]]):
            got, _ = feed(chunks)
            assert [(m.data.decode(errors="replace"), m.event, m.id) for m in got] == expected
            assert got[-1] == Message(b"next", id="9")


@pytest.mark.parametrize(
    ("stream", "flushed"),
    [
        (b"", None),
        (b"data: a\n\n", None),
        (b"data: a", Message(b"a")),
        (b"data: a\n", Message(b"a")),
        (b"data: a\r", Message(b"a")),
        (b"data: a\r\n", Message(b"a")),
        (b"data: a\ndata: b", Message(b"a\nb")),
        (b"data", Message(b"")),
        (b"event: x\ndata: a\nid: 1", Message(b"a", event="x", id="1")),
        (b"event: x", None),
        (b"id: 1", None),
        (b": ping", None),
        (b"dat", None),
        (b"\xef\xbb", None),
        (b"\xef\xbb\xbfdata: a", Message(b"a")),
        (b"data: a\n\ndata: {", Message(b"{")),
        (b"data: a\n\nevent: x\n", None),
    ],
)
def test_the_end_of_the_stream(stream: bytes, flushed: Message | None) -> None:
    for chunks in ([stream], cut(stream, range(len(stream)))):
        decoder = feed(chunks)[1]
        assert decoder.flush() == flushed
        assert decoder.flush() is None


def test_flush_keeps_to_the_bound_of_an_event_and_no_less() -> None:
    decoder = Decoder(max_event_bytes=100)
    decoder.feed(b"data: " + b"x" * 80)
    assert decoder.flush() == Message(b"x" * 80)


@pytest.mark.parametrize(
    ("stream", "comments", "last_id", "retry"),
    [
        (b"", 0, "", None),
        (b": a\n:\n:b\r\n", 3, "", None),
        (b": unfinished", 0, "", None),
        (b"id: 1\n", 0, "", None),
        (b"id: 1\n\n", 0, "1", None),
        (b"id: 1\ndata: a\n\nid: 2\n", 0, "1", None),
        (b"id: 1\n\nid: 2\0\n\n", 0, "1", None),
        ("id: é\n\n".encode(), 0, "é", None),
        (b"retry: 10\n", 0, "", 10),
        (b"retry:010\n", 0, "", 10),
        (b"retry: 10\nretry: 20\n\n", 0, "", 20),
        (b"retry: 10\nretry: 1.5\nretry: -1\nretry: 1 \nretry:  1\nretry\nretry: +1\n", 0, "", 10),
        ("retry: ١\nretry: ²\n".encode(), 0, "", None),
        (b"retry: 1_0\n", 0, "", None),
        (b"Retry: 1\n", 0, "", None),
        (b"retry: " + b"9" * 100_000 + b"\n", 0, "", None),
    ],
)
def test_what_is_not_a_message(
    stream: bytes, comments: int, last_id: str, retry: int | None
) -> None:
    for chunks in ([stream], cut(stream, range(min(200, len(stream))))):
        messages, decoder = feed(chunks)
        assert all(m.data == b"a" for m in messages)
        assert (decoder.comments, decoder.last_event_id, decoder.retry) == (
            comments,
            last_id,
            retry,
        )


# Fragments that meet each other in every way: each line end, each field whole and cut, a BOM, the
# line ends of Unicode, invalid bytes.
FRAGMENTS = [
    *(b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b"\n\r"),
    *(b"data", b"data:", b"data: ", b"event", b"event: e", b"id", b"id:", b"id: 1"),
    *(b"retry", b"retry: ", b"7", b":", b": ", b" ", b"\0", b"x", b"da", b"ta"),
    *(b"\xef\xbb\xbf", b"\xef", b"\xbb", b"\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\xff", b"\x0b"),
]  # fmt: skip
STREAMS = st.one_of(
    st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(b"".join),
    st.lists(st.sampled_from(b"\r\n:d \0"), max_size=40).map(bytes),
    st.binary(max_size=60),
)


def meaning(chunks: Iterable[bytes]) -> Interpretation:
    messages, decoder = feed(chunks)
    out = Interpretation(
        [(m.data.decode(errors="replace"), m.event, m.id) for m in messages],
        comments=decoder.comments,
        last_event_id=decoder.last_event_id,
        retry=decoder.retry,
    )
    rest = decoder.flush()
    if rest is not None:
        out.pending = (rest.data.decode(errors="replace"), rest.event, rest.id)
    return out


@given(stream=STREAMS, data=st.data())
@example(stream=b"\xef\xbb", data=None)
@example(stream=b"data: a\r", data=None)
def test_any_stream_cut_anywhere_means_what_the_standard_says(
    stream: bytes, data: st.DataObject | None
) -> None:
    expected = interpret(stream)
    assert meaning([stream]) == expected
    assert meaning(cut(stream, range(len(stream)))) == expected
    if data is not None:
        at = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
        assert meaning(cut(stream, at)) == expected


def test_whole_tapes_cut_at_random() -> None:
    source = random.Random(20)
    for _ in range(300):
        stream = b"".join(source.choices(FRAGMENTS, k=400))
        cuts = sorted(source.choices(range(len(stream)), k=source.randrange(60)))
        assert meaning(cut(stream, cuts)) == interpret(stream)


# The bound counts the bytes of the lines of one event; what is well within it passes, what is
# beyond it does not, however it arrives.
def long_line(size: int) -> bytes:
    return b"data: " + b"x" * size


def many_lines(size: int) -> bytes:
    return b"data: xx\n" * (size // 8)


def empty_lines(size: int) -> bytes:
    return b"data\n" * (size // 4)


def ignored_field(size: int) -> bytes:
    return b"x" * size


@pytest.mark.parametrize("step", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("make", [long_line, many_lines, empty_lines, ignored_field])
def test_the_bound(make: Callable[[int], bytes], step: int) -> None:
    def run(stream: bytes) -> None:
        decoder = Decoder(max_event_bytes=1000)
        for start in range(0, len(stream), step):
            decoder.feed(stream[start : start + step])

    run((make(900) + b"\n\n") * 20)
    for stream in (make(1100), make(900) + b"\n\n" + make(1100), make(1100) + b"\n\n"):
        with pytest.raises(SSEError, match="longer than 1000 bytes"):
            run(stream)
    assert issubclass(SSEError, ValueError)


def test_comments_without_end_are_no_event() -> None:
    decoder = Decoder(max_event_bytes=1000)
    for _ in range(1000):
        decoder.feed(b": keep-alive\n")
    assert decoder.comments == 1000
    assert decoder.feed(b"data: a\n\n") == [Message(b"a")]


def test_fields_that_replace_each_other_are_bounded() -> None:
    decoder = Decoder(max_event_bytes=1000)
    for _ in range(60):
        decoder.feed(b"event: abcdefgh\n")
    with pytest.raises(SSEError):
        decoder.feed(b"event: abcdefgh\n" * 10)


def seconds(make: Callable[[int], bytes], size: int, step: int) -> float:
    stream = make(size) + b"\n\n"
    chunks = [stream[i : i + step] for i in range(0, len(stream), step)]
    best = float("inf")
    for _ in range(2):
        decoder = Decoder(max_event_bytes=1 << 30)
        start = time.process_time()
        for chunk in chunks:
            decoder.feed(chunk)
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.parametrize(
    ("make", "size", "step"),
    [
        (long_line, 4 << 20, 1024),
        (long_line, 1 << 19, 1),
        (many_lines, 1 << 20, 1024),
        (many_lines, 1 << 22, 1 << 22),
        (lambda n: b"data: a\n\n" * (n // 9), 1 << 21, 1 << 21),
        (lambda n: b"data: a\r\r" * (n // 9), 1 << 20, 512),
        (lambda n: b"\r\n" * (n // 2), 1 << 18, 1),
    ],
    ids=["line", "bytes", "lines", "lines-once", "events", "cr", "crlfs"],
)
def test_time_is_linear(make: Callable[[int], bytes], size: int, step: int) -> None:
    once, twice = seconds(make, size, step), seconds(make, 2 * size, step)
    # Linear is 2, quadratic 4; a fast run is all noise, hence the floor, which copying what has
    # come before at every feed would exceed ten times. The bound on the time is ten times what a
    # slow machine needs.
    assert twice < 3 * max(once, 0.1)
    assert twice < 20
