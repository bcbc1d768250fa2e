from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.sse import Decoder, Message, encode, encode_comment


@pytest.mark.parametrize(
    ("data", "fields", "expected"),
    [
        ("a", {}, b"data: a\n\n"),
        (b"a", {}, b"data: a\n\n"),
        ("", {}, b"data: \n\n"),
        (" a ", {}, b"data:  a \n\n"),
        ("é", {}, "data: é\n\n".encode()),
        (b"\xff\0", {}, b"data: \xff\0\n\n"),
        ("a\nb", {}, b"data: a\ndata: b\n\n"),
        ("a\rb", {}, b"data: a\ndata: b\n\n"),
        ("a\r\nb", {}, b"data: a\ndata: b\n\n"),
        ("a\n\rb", {}, b"data: a\ndata: \ndata: b\n\n"),
        ("\n", {}, b"data: \ndata: \n\n"),
        ("a\u2028b\x85c\x0bd\x0ce\x1cf", {}, "data: a\u2028b\x85c\x0bd\x0ce\x1cf\n\n".encode()),
        ("a\nid: 7\n\nevent: x", {}, b"data: a\ndata: id: 7\ndata: \ndata: event: x\n\n"),
        ("a", {"id": "1-2"}, b"id: 1-2\ndata: a\n\n"),
        ("a", {"id": ""}, b"id: \ndata: a\n\n"),
        ("a", {"event": "e"}, b"event: e\ndata: a\n\n"),
        ("a", {"retry": 0}, b"retry: 0\ndata: a\n\n"),
    ],
)  # fmt: skip
def test_bytes(data: str | bytes, fields: dict[str, str | int], expected: bytes) -> None:
    assert encode(data, **fields) == expected  # type: ignore[arg-type]  # a table of keywords


def test_all_fields_are_one_event() -> None:
    frame = encode("a\nb", event="e", id="1", retry=5)
    decoder = Decoder()
    assert decoder.feed(frame) == [Message(b"a\nb", "e", "1")]
    assert decoder.retry == 5
    assert sorted(frame.split(b"\n")) == sorted(
        [b"id: 1", b"event: e", b"retry: 5", b"data: a", b"data: b", b"", b""]
    )


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "a\nb", "\r\n", "1\n\ndata: forged"])
@pytest.mark.parametrize("name", ["id", "event"])
def test_what_would_break_out_of_a_field_is_refused(name: str, bad: str) -> None:
    with pytest.raises(ValueError, match=name):
        encode("a", **{name: bad})  # type: ignore[arg-type]  # one keyword by its name


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "a\n\ndata: forged"])
def test_what_would_break_out_of_a_comment_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="comment"):
        encode_comment(bad)


def test_a_negative_retry_is_refused() -> None:
    with pytest.raises(ValueError, match="retry"):
        encode("a", retry=-1)


def test_a_comment_is_one_line_and_ends_no_event() -> None:
    assert encode_comment("ping") == b": ping\n"


FIELD = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=12)
TEXT = st.text(
    st.sampled_from("\r\n:a \0\ufeff\u2028\x85") | st.characters(exclude_categories=["Cs"]),
    max_size=40,
)


@given(
    st.lists(
        st.tuples(TEXT, st.none() | FIELD, st.none() | FIELD, st.none() | st.integers(0, 10**6)),
        max_size=6,
    )
)
def test_what_is_encoded_is_decoded(
    events: list[tuple[str, str | None, str | None, int | None]],
) -> None:
    decoder, last_id, last_retry = Decoder(), "", None
    for data, event, id_, retry in events:
        last_id = last_id if id_ is None else id_
        last_retry = last_retry if retry is None else retry
        frame = encode(data, event=event, id=id_, retry=retry)
        expected = re.sub("\r\n|\r", "\n", data).encode()
        assert b"\r" not in frame
        assert frame.endswith(b"\n\n")
        assert b"\n\n" not in frame[:-1]
        messages = decoder.feed(encode_comment("ping") + frame)
        assert messages == [Message(expected, event or "message", last_id)]
        assert decoder.retry == last_retry
    assert decoder.flush() is None
    assert decoder.comments == len(events)


@given(st.binary(max_size=40))
def test_bytes_survive(data: bytes) -> None:
    [message] = Decoder().feed(encode(data))
    assert message.data == re.sub(rb"\r\n|\r", b"\n", data)
