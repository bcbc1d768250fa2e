"""The OpenAPI document of this version, and what its schemas say of a value."""

from __future__ import annotations

import copy
import functools
from typing import Any, Final

import jsonschema_rs
from starlette.routing import Router

from headwater import Headwater
from headwater.server.app import App, create_app, described_routes
from headwater.server.openapi import document
from headwater.server.operations import Described

_HW: Final = Headwater(config=None)
ROUTES: Final[list[Described]] = described_routes(_HW.settings, _HW.runtime, _HW._auth(served=True))
DOCUMENT: Final[dict[str, Any]] = document(ROUTES)


def router() -> Router:
    """What the application asks where a request belongs."""
    app = create_app(_HW.settings, _HW.runtime, _HW._auth(served=True))
    assert isinstance(app, App)
    return app._router


@functools.cache
def validator(schema: str, *, closed: bool = False) -> jsonschema_rs.Draft202012Validator:
    """A validator of this component; `closed` refuses members that are not described."""
    schemas = copy.deepcopy(DOCUMENT["components"]["schemas"])
    if closed:
        _close(schemas)
    root = {"$ref": f"#/components/schemas/{schema}", "components": {"schemas": schemas}}
    return jsonschema_rs.Draft202012Validator(root)


def _close(schema: Any) -> None:
    """Let no object have members beside those that are named."""
    if isinstance(schema, list):
        for each in schema:
            _close(each)
    elif isinstance(schema, dict):
        for name, each in schema.items():
            if name != "ModelInfo":  # a part of what a model is described as
                _close(each)
        if isinstance(schema.get("properties"), dict):
            schema.setdefault("unevaluatedProperties", False)
