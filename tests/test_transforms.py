"""Text on its way to the log: whatever its pieces, the same is said."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.transforms import Change, Transforms, made, redact, smooth

LETTERS = st.text(alphabet="abc \n", max_size=40)
WORDS = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), min_size=1, max_size=4)


@st.composite
def pieces(draw: st.DrawFn) -> list[str]:
    """A text, cut anywhere."""
    text = draw(LETTERS)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def said(transform: Transforms | Change, parts: list[str]) -> list[str]:
    one = made(transform)
    return [*(one.feed(part) for part in parts), one.rest()]


@given(pieces(), WORDS)
def test_redaction_does_not_depend_on_the_cuts(parts: list[str], words: list[str]) -> None:
    ordered = sorted(words, key=len, reverse=True)
    whole = re.sub("|".join(map(re.escape, ordered)), "*", "".join(parts))
    assert "".join(said(redact(words, "*"), parts)) == whole


@given(pieces(), st.sampled_from(["word", "line"]))
def test_smoothing_loses_nothing_and_cuts_where_it_says(parts: list[str], by: str) -> None:
    out = [part for part in said(smooth(by), parts) if part]
    assert "".join(out) == "".join(parts)
    edges = (" ", "\n") if by == "word" else ("\n",)
    assert all(part.endswith(edges) for part in out[1:-1])


@pytest.mark.parametrize("transform", [smooth("word"), smooth("line"), redact(["secret"])])
def test_the_first_token_does_not_wait(transform: Transforms) -> None:
    assert made(transform).feed("Tok") == "Tok"


def test_what_may_be_the_beginning_of_a_word_waits_and_no_more() -> None:
    one = made(redact(["secret"], "#"))
    assert one.feed("my se") == "my "
    assert one.feed("a") == "sea"
    assert one.feed(" sec") == " "
    assert one.feed("ret!") == "#!"
    assert one.rest() == ""


def test_a_function_changes_each_piece() -> None:
    assert said(str.upper, ["ab", "c"]) == ["AB", "C", ""]


@pytest.mark.parametrize("wrong", [[], [""], ["a", ""]])
def test_redact_wants_words(wrong: list[str]) -> None:
    with pytest.raises(ValueError, match="words that are not empty"):
        redact(wrong)


def test_smooth_says_what_it_takes() -> None:
    with pytest.raises(ValueError, match='"word" or "line"'):
        smooth("character")
