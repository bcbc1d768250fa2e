"""An upstream that answers each prompt as planned, and a server in front of it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from headwater.testing import Answer, FaultyUpstream, Request, reply
from tests.helpers.arrivals import request
from tests.helpers.processes import HEADWATER
from tests.server.serving import Reader, Served, ask, serving
from tests.server.wires import PATHS, body_of

BOUND_S = 10.0
#: Those whose readers are tried in every mishap: a head that waits, a head that comes at once, and
#: the log itself. What a wire alone decides, its frames, is tried in all of them.
WIRES = ["plain", "native", "openai"]


class World:
    """An upstream that answers each prompt as planned, and a server in front of it."""

    def __init__(
        self, upstream: FaultyUpstream, served: Served, answers: dict[str, Answer]
    ) -> None:
        self.upstream = upstream
        self.served = served
        self.port = served.port
        self._answers = answers
        self._names = (f"prompt-{number}" for number in itertools.count())

    def plan(self, answer: Answer) -> str:
        """The prompt that is answered so."""
        prompt = next(self._names)
        self._answers[prompt] = answer
        return prompt

    def asked(self, prompt: str) -> Request:
        """What the upstream was asked for this prompt, once it was; it is asked just once."""
        self.upstream.wait(lambda: bool(self._posts(prompt)), BOUND_S)
        [post] = self._posts(prompt)
        return post

    def _posts(self, prompt: str) -> list[Request]:
        return [post for post in self.upstream.posts if prompt_of(post) == prompt]

    def freed(self, prompt: str, since: float) -> float:
        """Seconds until the upstream of this prompt saw its client go, the last time it did."""
        self.upstream.wait(lambda: bool(self._posts(prompt)), BOUND_S)
        post = self._posts(prompt)[-1]
        self.upstream.wait(lambda: post.hung_up_at is not None, BOUND_S)
        assert post.hung_up_at is not None
        return post.hung_up_at - since

    def post(
        self,
        wire: str,
        prompt: str,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> Reader:
        """Begin a stream and read its head."""
        body = body_of(wire, prompt, **members)
        return Reader(request(self.port, PATHS[wire], body, headers, timeout_s=BOUND_S))

    def whole(self, wire: str, answer: Answer, **members: Any) -> Reader:
        """Begin a stream and read all of it."""
        reader = self.post(wire, self.plan(answer), **members)
        reader.rest()
        return reader

    def get(self, stream: str, wire: str, after: str | None = None) -> bytes:
        """The whole answer to a reader of a stream."""
        headers = {} if after is None else {"Last-Event-ID": after}
        answer = ask(self.port, f"/v1/streams/{stream}?wire={wire}", headers=headers)
        assert answer.status == (200 if answer.body else 204), answer
        return answer.body

    def follow(self, stream: str, wire: str = "native", after: str | None = None) -> Reader:
        """A reader of a stream that may still run."""
        headers = {} if after is None else {"Last-Event-ID": after}
        path = f"/v1/streams/{stream}?wire={wire}"
        return Reader(request(self.port, path, None, headers, timeout_s=BOUND_S))

    def state(self, stream: str) -> Any:
        path = f"/v1/streams/{stream}"
        return ask(self.port, path, headers={"Accept": "application/json"}).json


def prompt_of(post: Request) -> Any:
    return post.json["messages"][-1]["content"]


@contextlib.contextmanager
def world(
    cwd: Path, config: str = "", command: Sequence[str] = (HEADWATER,), **environ: str
) -> Iterator[World]:
    answers: dict[str, Answer] = {}

    def answer(asked: Request) -> Answer:
        if asked.method == "GET":
            return reply(200, {"data": [{"id": "test-model"}]})
        return answers[prompt_of(asked)]

    with (
        FaultyUpstream(answer) as upstream,
        serving(
            "--upstream", upstream.url, cwd=cwd, config=config, environ=environ, command=command
        ) as served,
    ):
        yield World(upstream, served, answers)
    assert "Traceback" not in served.output, served.output
