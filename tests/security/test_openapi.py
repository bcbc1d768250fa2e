"""The server answers as its OpenAPI document says, whatever is asked."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi import checks

from headwater.adapters.heads import PLAYGROUND
from headwater.testing import Answer, FaultyUpstream, Request, chat, reply
from tests.conftest import Figures
from tests.helpers.described import DOCUMENT, ROUTES, validator
from tests.server.serving import Served, ask, data_of, frames, serving
from tests.server.wires import EVERY_WIRE, PATHS, WAITING, body_of

pytestmark = pytest.mark.system

CHECKS: Final[list[Any]] = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
SCHEMA: Final = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS: Final = {f"{route.method} {route.path_format}": route.operation for route in ROUTES}
every_operation: Final = pytest.mark.parametrize("label", list(OPERATIONS))
MODELS: Final = [
    *(
        "test-model",
        "tape/story?speed=1000",
        "tape/tools?speed=1000&cut=9",
        "no/such",
        "tape/story?x",
    ),
]
#: The prompt that the upstream takes its time to refuse.
LATE: Final = "refuse this late"
POSITIONS: Final = ["0-0", "1-1", "1-3", "1-4", "2-1"]


def upstream() -> FaultyUpstream:
    """One that streams, refuses the request and refuses the key, in turn: it is never retried."""
    refusals = [reply(status, {"error": {"message": "no"}}) for status in (400, 401)]
    posts = itertools.cycle([chat(["a", "b"]), *refusals])
    late = Answer([2.0, b"{}"], 401, framing="length")

    def answer(asked: Request) -> Answer:
        if asked.method == "GET":
            return reply(200, {"data": [{"id": "test-model"}]})
        return late if LATE.encode() in asked.body else next(posts)

    return FaultyUpstream(answer)


def asking(wire: str, model: str, **members: Any) -> dict[str, Any]:
    """What asks this model in this wire."""
    body = body_of(wire, "hi", **members)
    return body | ({"forwardedProps": {"model": model}} if wire == "agui" else {"model": model})


class Target:
    """A server, and streams of every kind on it that have ended."""

    def __init__(self, served: Served) -> None:
        self.url = f"http://127.0.0.1:{served.port}"
        self.session = requests.Session()
        self.statuses: Counter[int] = Counter()
        self.streams = [
            ask(served.port, PATHS[wire], asking(wire, f"tape/{model}")).headers["headwater-stream"]
            for wire in EVERY_WIRE
            for model in ("story?speed=1000&cut=9", "tools?speed=1000")
        ]

    def aim(self, case: Case[Any], draw: st.DataObject) -> None:
        """Lead three cases of four past the first refusal: to a model, a stream, a position."""
        if isinstance(case.body, dict) and case.path in PATHS.values():
            body: Any = case.body
            if case.path == "/agui":
                body = body.setdefault("forwardedProps", {})
            if isinstance(body, dict) and draw.draw(st.integers(0, 3)):
                body["model"] = draw.draw(st.sampled_from(MODELS))
        known = {
            "stream": st.sampled_from(self.streams),
            "response": st.sampled_from([f"resp_{stream}" for stream in self.streams]),
            "chat": st.just("chat"),
            "path": st.sampled_from([file.name for file in (PLAYGROUND / "assets").iterdir()]),
        }
        for name in known.keys() & case.path_parameters.keys():
            if draw.draw(st.integers(0, 3)):
                case.path_parameters[name] = draw.draw(known[name])
        if "Last-Event-ID" in case.headers and draw.draw(st.integers(0, 3)):
            case.headers["Last-Event-ID"] = draw.draw(st.sampled_from(POSITIONS))
        if case.path == "/probe":  # an hour is what it may last
            for name, most in (("ticks", 3), ("every", 1), ("silence", 0)):
                value = str(case.query.setdefault(name, most))
                if value.replace(".", "", 1).isdecimal() and float(value) > most:
                    case.query[name] = most

    def send(self, case: Case[Any]) -> None:
        response = case.call(
            base_url=self.url, session=self.session, timeout=30, allow_redirects=False
        )
        self.statuses[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)
        assert response.status_code != 500
        if response.status_code >= 400 and "application/json" in response.headers["content-type"]:
            code = response.json()["error"].get("code")  # Messages has none
            assert code is None or code in OPERATIONS[case.operation.label].codes


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with (
        upstream() as provider,
        serving("--upstream", provider.url, cwd=tmp_path_factory.mktemp("server")) as served,
    ):
        yield Target(served)
    assert "Traceback" not in served.output, served.output


def conform(target: Target, label: str, examples: int, figures: Figures) -> None:
    operation = SCHEMA.find_operation_by_label(label)
    assert operation is not None
    target.statuses.clear()
    for mode in GenerationMode:

        @seed(1)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(operation.as_strategy(generation_mode=mode), st.data())
        def run(case: Case[Any], draw: st.DataObject) -> None:
            target.aim(case, draw)
            target.send(case)

        run()
    figures(label, ", ".join(f"{status}: {n}" for status, n in sorted(target.statuses.items())))


def test_it_is_an_openapi_document() -> None:
    SCHEMA.validate()


@every_operation
def test_a_sample(target: Target, label: str, figures: Figures) -> None:
    conform(target, label, 8, figures)


@pytest.mark.proof
@pytest.mark.timeout(1800)
@every_operation
def test_thousands(target: Target, label: str, figures: Figures) -> None:
    conform(target, label, 500, figures)


def described(path: str, method: str = "get") -> str:
    """The schema of the JSON that this operation answers."""
    by_type: Any = DOCUMENT["paths"][path][method]["responses"]["200"]["content"]
    return str(by_type["application/json"]["schema"]["$ref"]).rpartition("/")[2]


def test_the_failure_of_a_stream_is_described_as_each_wire_says_it(target: Target) -> None:
    """Its readers come before it fails: those whose wire waits for the first event get a status."""
    target.statuses.clear()
    operation = SCHEMA.find_operation_by_label("GET /v1/streams/{stream}")
    assert operation is not None
    body = asking("native", "test-model") | {"messages": [{"role": "user", "content": LATE}]}
    with requests.post(f"{target.url}{PATHS['native']}", json=body, stream=True) as begun:
        path = {"stream": begun.headers["Headwater-Stream"]}
        cases = [operation.Case(path_parameters=path, query={"wire": wire}) for wire in EVERY_WIRE]
        with ThreadPoolExecutor(len(cases)) as threads:
            list(threads.map(target.send, cases))
    assert target.statuses == {502: len(WAITING), 200: len(EVERY_WIRE) - len(WAITING)}


@pytest.mark.parametrize("model", ["tape/story", "tape/tools", "tape/reasoning"])
@pytest.mark.parametrize("wire", EVERY_WIRE)
def test_a_whole_answer_has_the_members_that_are_described(
    target: Target, wire: str, model: str
) -> None:
    port = int(target.url.rpartition(":")[2])
    answer = ask(port, PATHS[wire], asking(wire, f"{model}?speed=1000", stream=False))
    assert answer.status == 200
    validator(described(PATHS[wire], "post"), closed=True).validate(answer.json)


def test_lists_and_states_have_the_members_that_are_described(target: Target) -> None:
    port = int(target.url.rpartition(":")[2])
    for path in ("/v1/models", "/v1/streams", "/healthz", "/readyz"):
        validator(described(path), closed=True).validate(ask(port, path).json)
    for stream in target.streams:
        state = ask(port, f"/v1/streams/{stream}", headers={"Accept": "application/json"})
        validator(described("/v1/streams/{stream}"), closed=True).validate(state.json)
        response = ask(port, f"/v1/responses/resp_{stream}")
        validator(described("/v1/responses/{response}"), closed=True).validate(response.json)
        for frame in frames(ask(port, f"/v1/streams/{stream}").body):
            validator("Event", closed=True).validate(json.loads(data_of(frame)))


def test_a_method_that_is_not_described_is_not_allowed(target: Target) -> None:
    port = int(target.url.rpartition(":")[2])
    for path, by_method in DOCUMENT["paths"].items():
        methods = {method.upper() for method in by_method}
        methods |= {"HEAD"} if "GET" in methods else set()
        answer = ask(port, path.replace("{", "").replace("}", ""), method="PATCH")
        assert answer.status == 405, path
        assert set(answer.headers["allow"].split(", ")) == methods, path


def test_what_is_described_as_open_wants_no_key_and_all_else_does(tmp_path: Path) -> None:
    config = '[auth.keys]\nann = "env:ANN"\n'
    with serving(cwd=tmp_path, config=config, environ={"ANN": "the-key-of-ann-0123"}) as served:
        for route in ROUTES:
            path = route.path_format.replace("{", "").replace("}", "")
            answer = ask(served.port, path, method=route.method)
            assert (answer.status == 401) == (not route.operation.is_open), path
