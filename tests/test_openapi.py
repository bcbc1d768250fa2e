"""The OpenAPI document: as many operations as there are routes, and no more than is true."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.routing import Mount

from headwater import Headwater, wires
from headwater.errors import STATUS, RequestError
from headwater.server.openapi import OPERATION
from headwater.server.probe import Plan
from tests.conftest import Figures
from tests.helpers.described import DOCUMENT, ROUTES, router, validator

OPERATIONS = {
    (path, method): operation
    for path, by_method in DOCUMENT["paths"].items()
    for method, operation in by_method.items()
}
PATHS = {name: wires.get(name).path for name in wires.names()}


def test_every_route_is_described_and_nothing_else() -> None:
    served = {
        (getattr(route, "path_format", None), method.lower())
        for route in router().routes
        for method in getattr(route, "methods", None) or {"GET"}  # files are read
    }
    # Starlette answers HEAD where there is GET.
    assert {(path, method) for path, method in served if method != "head"} == set(OPERATIONS)
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(names) == len(set(names)) == len(ROUTES)


def test_every_error_code_and_status_is_described() -> None:
    code = DOCUMENT["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]
    assert code["enum"] == list(STATUS)
    for each, status in STATUS.items():
        for shape in ("Error", "MessagesError", "ErrorOrMessagesError"):
            response = DOCUMENT["components"]["responses"][f"{shape}{status}"]
            assert f"`{each}`: " in response["description"]
    assert frozenset().union(*(route.operation.codes for route in ROUTES)) == set(STATUS)


def test_every_reference_leads_somewhere_and_every_part_is_referred_to() -> None:
    found: set[str] = set()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            found.update({value["$ref"]} if "$ref" in value else ())
        for each in value.values() if isinstance(value, dict) else value:
            if isinstance(each, dict | list):
                look(each)

    look(DOCUMENT)
    parts = {
        f"#/components/{kind}/{name}"
        for kind, named in DOCUMENT["components"].items()
        if kind != "securitySchemes"
        for name in named
    }
    assert found == parts


@pytest.mark.parametrize("wire", list(PATHS))
def test_no_request_that_a_wire_takes_is_against_the_document(
    wire: str, monkeypatch: pytest.MonkeyPatch, figures: Figures
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "fuzz"))
    fuzz = importlib.import_module("request_bodies")
    monkeypatch.setattr(fuzz, "PATHS", [PATHS[wire]])
    body = OPERATIONS[PATHS[wire], "post"]["requestBody"]["content"]["application/json"]
    schema = validator(body["schema"]["$ref"].rpartition("/")[2])
    generator, taken, refused, described = fuzz.Generator(seed=3), 0, 0, 0
    for _ in range(3000):
        value = fuzz.json.loads(generator.request()[1])
        if not isinstance(value, dict):
            continue
        try:
            wires.get(wire).parse(value)
        except RequestError:
            refused += 1
            described += not schema.is_valid(value)
        else:
            taken += 1
            assert schema.is_valid(value), f"{value}: {next(schema.iter_errors(value)).message}"
    assert min(taken, refused) > 100
    figures(f"{wire}: requests", f"{taken} taken, {refused} refused, {described} by the document")


@pytest.mark.parametrize("name", Plan.__struct_fields__)
def test_the_parameters_of_a_probe_have_their_bounds(name: str) -> None:
    schema = DOCUMENT["components"]["parameters"][f"query.{name}"]["schema"]
    if name == "tag":
        schema = {"enum": ["", "a" * 64, "A.b_-9"], "wrong": ["a" * 65, "é"]}
    elif "enum" in schema:
        schema = {**schema, "wrong": [2, -1, 0.5]}
    else:
        ends = [schema["minimum"], schema["maximum"]]
        schema = {"enum": ends, "wrong": [ends[0] - 1, ends[1] + 1, "x"]}
        schema["wrong"] += [0.5] if name in ("ticks", "size") else []
    # Others are zero, so that the bounds of what they come to together are kept.
    rest = {"ticks": "0", "every": "0", "size": "0"}
    for value in schema["enum"]:
        Plan.parse(QueryParams({**rest, name: str(value)}))
    for value in schema["wrong"]:
        with pytest.raises(RequestError):
            Plan.parse(QueryParams({**rest, name: str(value)}))


def test_it_says_where_it_is_mounted_and_is_sent_once() -> None:
    app = Starlette(routes=[Mount("/inner/ai", Headwater(config=None).asgi())])

    async def ask(headers: dict[str, str]) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return await client.get("http://a.example/inner/ai/openapi.json", headers=headers)

    first = asyncio.run(ask({}))
    assert (first.status_code, first.headers["content-type"]) == (200, "application/json")
    assert first.json() == {"servers": [{"url": "/inner/ai"}], **DOCUMENT}
    again = asyncio.run(ask({"If-None-Match": first.headers["etag"]}))
    assert (again.status_code, again.content) == (304, b"")
    assert OPERATION.is_open
