"""`headwater compare`: both sides of a prompt, measured."""

from __future__ import annotations

import itertools
import json
import math
import os
import pty
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.cli.comparison.figures import ENOUGH_FOR_P95, number, rows, seconds, spread, words
from headwater.cli.comparison.report import report
from headwater.cli.comparison.runs import READING, Run, plan
from headwater.cli.comparison.table import table
from headwater.testing import STALL, Answer, FaultyUpstream, chat, chunk, reply
from tests.cli.test_tapes import headwater
from tests.helpers.processes import HEADWATER, environment, headwater_serve, stopped_at_the_end

USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


def run(side: Any = "streamed", **members: Any) -> Run:
    return Run("m", side, 1, "m", **members)


@pytest.mark.system
@pytest.mark.parametrize("where", ["process", "server"])
def test_both_sides_of_each_model(where: str, tmp_path: Path) -> None:
    answer = chat(["Hel", "lo ", "é"], gap_s=0.1, usage=USAGE)
    with FaultyUpstream(answer) as upstream:
        environ = {"HEADWATER_SERVER__UPSTREAM": upstream.url}
        arguments = [
            "compare",
            "hi",
            "--models",
            "a,tape/story?speed=100",
            "--repeat",
            "2",
            "--json",
        ]
        if where == "server":
            with headwater_serve(cwd=tmp_path, environ=environ) as port:
                arguments += ["--server", f"http://127.0.0.1:{port}"]
                done = headwater(*arguments, cwd=tmp_path)
        else:
            done = headwater(*arguments, cwd=tmp_path, **environ)
        posts = upstream.posts
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["prompt"] == "hi"
    ours, tape = told["models"]
    assert (ours["model"], tape["model"]) == ("a", "tape/story?speed=100")
    for model in told["models"]:
        assert [len(model[side]["runs"]) for side in ("streamed", "whole")] == [2, 2]
        for streamed, whole in zip(model["streamed"]["runs"], model["whole"]["runs"], strict=True):
            assert streamed["first"] < streamed["total"]
            assert whole["first"] == whole["waited"] <= whole["total"]
            assert len(whole["arrivals"]) == 1
            assert sum(n for _, n in whole["arrivals"]) == sum(n for _, n in streamed["arrivals"])
    assert [n for _, n in ours["streamed"]["runs"][0]["arrivals"]] == [3, 3, 1]
    assert (ours["whole"]["tokens"], tape["streamed"]["tokens"], tape["whole"]["tokens"]) == (
        5,
        322,
        322,
    )
    # Two requests a side, and one at a time.
    assert len(posts) == 4
    assert all(a.sent[-1][0] <= b.sent[0][0] for a, b in itertools.pairwise(posts))
    lines = done.stderr.splitlines()
    assert [" ".join(line.split()[:3]) for line in lines if line.startswith("a ")] == [
        "a streamed 1/2:", "a whole 1/2:", "a whole 2/2:", "a streamed 2/2:",
    ]  # fmt: skip


@pytest.mark.system
def test_failures_are_rows_with_their_reasons(tmp_path: Path) -> None:
    models = "tape/story?speed=max,tape/story?speed=max&cut=3,nope"
    done = headwater("compare", "hi", "--models", models, cwd=tmp_path)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    head, good, _, cut, cut_whole, none, _, blank, *rest = done.stdout.splitlines()
    assert head.split("  ")[0] == "model"
    assert good.split()[-1] == "1"
    assert cut.endswith("0 of 1")
    assert cut_whole.endswith("0 of 1")
    assert none.startswith("nope ")
    assert blank == ""
    assert "tape broke off before the end of the answer." in rest[0]
    assert any("nope, whole: 1 run failed: There is no model 'nope'" in line for line in rest)
    assert rest[-1].startswith("tape/story?speed=max: something to read after ")


@pytest.mark.system
@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["compare"], 2, "Nothing to ask"),
        (["compare", "hi", "--models", "a,,b"], 2, "--models has an empty name"),
        (["compare", "hi", "--repeat", "0"], 2, "0 is not in the range 1<=x<=1000"),
        (["compare", "hi", "--html", "no/a.html"], 2, "there is no folder no"),
        (["compare", "hi", "--server", "h:1"], 2, "--server must be a URL such as"),
        (["compare", "hi", "--models", "nope"], 1, "There is no model 'nope'"),
        (["compare", "hi", "--server", "http://127.0.0.1:1"], 1, "cannot reach 127.0.0.1"),
    ],
)  # fmt: skip
def test_nothing_to_compare(arguments: list[str], status: int, says: str, tmp_path: Path) -> None:
    done = headwater(*arguments, cwd=tmp_path)
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.system
def test_ctrl_c_prints_what_there_is_and_frees_the_provider(tmp_path: Path) -> None:
    with FaultyUpstream(Answer([chunk({"content": "abc"}), STALL])) as upstream:
        process = subprocess.Popen(
            [HEADWATER, "compare", "hi", "--models", "tape/story?speed=max,a", "--html", "a.html"],
            cwd=tmp_path,
            env=environment(HEADWATER_SERVER__UPSTREAM=upstream.url),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with stopped_at_the_end(process):
            upstream.wait(
                lambda: bool(upstream.posts) and bool(upstream.posts[0].sent), timeout_s=30
            )
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        upstream.wait(lambda: upstream.posts[0].hung_up_at is not None, timeout_s=10)
    assert process.returncode == 130
    assert b"tape/story?speed=max: something to read after " in out
    assert b"Traceback" not in err
    assert (tmp_path / "a.html").read_text().endswith("</html>\n")


@pytest.mark.system
def test_a_terminal_sees_both_columns(tmp_path: Path) -> None:
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [HEADWATER, "compare", "hi", "--models", "tape/story?speed=8"],
        env=environment(TERM="xterm", COLUMNS="100"),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    seen = b""
    with stopped_at_the_end(process):
        while True:
            try:
                seen += os.read(main, 65536)
            except OSError:  # the command has ended, and all was read
                break
        assert process.stdout is not None
        printed = process.stdout.read()
        assert process.wait(10) == 0
    os.close(main)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert re.search(r"model +streamed +whole", text)
    assert re.search(r"\d+ pieces · \d\.\d s", text)
    assert re.search(r"something to read after .* nothing to read yet · \d\.\d s", text)
    assert b"\x1b" not in printed


@pytest.mark.system
def test_a_whole_answer_that_fails_is_told(tmp_path: Path) -> None:
    with FaultyUpstream(reply(401, {"error": {"message": "no"}})) as upstream:
        environ = {"HEADWATER_SERVER__UPSTREAM": upstream.url}
        with headwater_serve(cwd=tmp_path, environ=environ) as port:
            done = headwater(
                "compare", "hi", "--models", "a", "--server", f"http://127.0.0.1:{port}",
                cwd=tmp_path,
            )  # fmt: skip
    assert done.returncode == 1
    assert len(re.findall("1 run failed: .*401", done.stdout)) == 2


# how a reader fares


@pytest.mark.parametrize(
    ("pieces", "waited"),
    [
        ([(1.0, 24)], 1.0),
        ([(0.5, 24), (0.6, 24), (0.7, 2400)], 0.5),
        ([(1.0, 24), (5.0, 24)], 1.0 + 4.0 - 24 / READING),  # the text was read long before
    ],
)
def test_a_reader_waits_where_the_text_ends(pieces: list[tuple[float, int]], waited: float) -> None:
    done = run(pieces=pieces, total_s=9.0)
    assert done.waited_s == pytest.approx(waited)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 500)), min_size=1))
def test_streamed_never_makes_a_reader_wait_longer(pieces: list[tuple[float, int]]) -> None:
    pieces.sort()
    streamed = run(pieces=pieces, total_s=pieces[-1][0])
    whole = run(pieces=[(pieces[-1][0], sum(n for _, n in pieces))], total_s=pieces[-1][0])
    assert streamed.waited_s is not None
    assert whole.waited_s is not None
    assert streamed.first_s <= streamed.waited_s + 1e-9  # type: ignore[operator]
    assert streamed.waited_s <= whole.waited_s + 1e-9


# what is said of many runs


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.0842], "84 ms"),
        ([0.4123], "0.41 s"),
        ([8.2345], "8.2 s"),
        ([12.34], "12 s"),
        ([0.412, 0.418, 0.425], "418 ms (412–425)"),
        ([0.4, 0.5, 0.9], "0.5 s (0.4–0.9)"),
        ([8.21, 8.22, 8.23], "8.22 s (8.21–8.23)"),
        ([1.0, 40.0], "20 s (0–40)"),
        ([0.0001], "0 ms"),
    ],
)
def test_no_more_digits_than_the_runs_have(values: list[float], text: str) -> None:
    said = spread(values)
    assert said is not None
    assert said.text() == text


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=60))
def test_the_statistics_are_of_the_runs(values: list[float]) -> None:
    said = spread([*values, None])
    assert said is not None
    assert said.least <= said.median <= said.most
    assert (said.least, said.most) == (min(values), max(values))
    assert (said.p95 is None) == (len(values) < ENOUGH_FOR_P95)
    if said.p95 is not None:
        assert said.p95 in values
        assert sum(value <= said.p95 for value in values) >= 0.95 * len(values)
    unit = seconds(said.median, said.step)[-2:].strip()
    shown = float(number(said.median, said.step, unit)) / (1000 if unit == "ms" else 1)
    assert math.isclose(shown, said.median, abs_tol=said.step / 2 + 1e-9)


@pytest.mark.parametrize(
    ("firsts", "wholes", "says"),
    [([0.4], [8.2], "20 times as late"), ([0.027], [2.0, 4.0, 10.0], "100 times as late")],
)
def test_a_ratio_has_the_digits_of_its_terms(
    firsts: list[float], wholes: list[float], says: str
) -> None:
    runs = [run(pieces=[(at, 9)], total_s=at) for at in firsts]
    runs += [run("whole", pieces=[(at, 9)], total_s=at) for at in wholes]
    assert says in words((rows(runs)[0], rows(runs)[1]))


def test_sides_take_turns_in_going_first() -> None:
    order = [(each.asked, each.side) for each in plan(["a", "b"], 2)]
    assert order == [
        ("a", "streamed"), ("a", "whole"), ("b", "streamed"), ("b", "whole"),
        ("a", "whole"), ("a", "streamed"), ("b", "whole"), ("b", "streamed"),
    ]  # fmt: skip


# the page


def test_the_page_stands_alone_and_shows_every_token() -> None:
    streamed = run(pieces=[(0.1 * n, 4) for n in range(1, 31)], total_s=3.0, tokens=30)
    whole = run("whole", pieces=[(3.0, 120)], total_s=3.0, tokens=30)
    bad = Run("<b>", "streamed", 1, "<b>", error="<script>alert(1)</script>", total_s=1.0)
    made = rows([streamed, whole, bad])
    page = report("</blockquote><img src=x>", made)
    assert "<script" not in page
    assert "<img" not in page
    assert "<b>" not in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    ticks = re.findall(r'<path class="(streamed|whole)" d="([^"]*)"', page)
    assert [(side, path.count("M")) for side, path in ticks] == [("streamed", 30), ("whole", 1)]
    assert "prefers-color-scheme: dark" in page
    assert words((made[0], made[1])) in page
    assert "10 times as late" not in page
    assert "30 times as late" in page
    assert "\n".join(table(made)).count("1 run failed") == 1
