"""What a relay is for the measurement: how it comes here, is started, and is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path


class Missing(Exception):  # noqa: N818 - a fact about this machine, not a fault
    """A relay or a tool is not to be had here; the message is the reason."""


@dataclass(frozen=True)
class House:
    """The throw-away folder: programs and peers, kept between runs; `work` is of one run."""

    root: Path
    work: Path

    def scratch(self, name: str) -> Path:
        """A folder for the files of one program of this run."""
        folder = self.work / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@dataclass(frozen=True)
class Upstreams:
    """Where tokens come from: base URLs by name, and whose certificates to trust.

    `plain`; `tls`, behind TLS; `connect`, behind TLS and closed after every answer.
    """

    urls: Mapping[str, str]
    certificate: Path

    def environment(self) -> dict[str, str]:
        """For relays that read it there."""
        return {"UPSTREAMS": json.dumps(dict(self.urls))}


@dataclass(frozen=True)
class Command:
    """How a relay is started."""

    line: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """How a relay is asked; `body` "-" for a GET."""

    path: str
    body: str
    headers: tuple[str, ...] = ()


class Relay:
    """One entry of the tables.

    `peer`: it counts when the best peer is looked for. `fast`: of nginx's order, so that workloads
    which would take the others minutes are for it. `log`: it keeps streams, by Headwater's paths.
    `direct`: there is nothing to start, the upstream itself is asked.
    """

    name: str
    peer: bool = True
    fast: bool = False
    log: bool = False
    direct: bool = False

    def install(self, house: House) -> str:
        """Bring it here unless it is; its versions. `Missing` says why it cannot be had."""
        raise NotImplementedError

    def command(self, house: House, port: int, upstreams: Upstreams) -> Command:
        """How it is started."""
        raise NotImplementedError

    def beside(self, house: House) -> AbstractContextManager[None]:
        """What must run beside it, and is not accounted to it; begun before `command` is asked."""
        return nullcontext()

    def ask(self, upstream: str, model: str) -> Ask:
        """How it is asked for what `model` of that upstream sends."""
        raise NotImplementedError


def chat_body(model: str) -> str:
    """A request as OpenAI's SDKs send it."""
    messages = [{"role": "user", "content": "Why is the sky blue?"}]
    return json.dumps({"model": model, "stream": True, "messages": messages})


def prompt_body(model: str) -> str:
    """What the relays of one's own take."""
    return json.dumps({"model": model, "prompt": "Why is the sky blue?"})
