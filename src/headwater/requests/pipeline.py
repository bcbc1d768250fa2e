"""One request's way to its stream: claim its key, resolve its model, begin. For every host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import structs

from headwater.events.position import Position
from headwater.generation import GenerationRequest
from headwater.providers.base import Source
from headwater.providers.transformed import Transformed
from headwater.requests import repeats
from headwater.requests.claims import Claim, digest_of, label_of, reopened
from headwater.requests.limits import Ticket
from headwater.requests.parsing import StreamRequest
from headwater.requests.reading import Reading, spoken_of
from headwater.requests.runtime import Runtime
from headwater.streams import LocalStream, Opened
from headwater.streams.generation import Generation, StreamOptions
from headwater.streams.hub import new_id
from headwater.transforms import made

#: The model of a stream that a generator of the app writes.
OWN_MODEL: Final = "generator"


async def open_stream(
    runtime: Runtime, request: StreamRequest, ticket: Ticket | None = None
) -> Reading:
    """The stream of a request: its own, that of the first with its key, or the rest of one.

    Args:
        runtime: what serves the running event loop.
        request: from `parsing`.
        ticket: the leave to begin a stream, where the caller has it; given back unless used.

    Raises:
        HeadwaterError: the request cannot be served; its code says why.

    """
    stream: LocalStream | None = None
    hub, principal = runtime.hub, request.principal
    try:
        digest = await _digest(runtime, request)
        label = _label(request, digest)
        if request.after and label is not None and not request.whole:
            after = Position.parse(request.after)
            return await repeats.rest(hub, label, principal, after, request.format)
        claim = None
        if request.key is not None:
            claim = Claim(hub, principal, request.path, request.key, digest)
        stream_id = new_id()
        first = None if claim is None else await claim.make(stream_id)
        if first is not None:
            opened = await reopened(hub, first.stream, principal)
            return Reading(opened, request.format, whole=request.whole)
        try:
            stream = await begin(runtime, request, label=label, stream_id=stream_id, ticket=ticket)
        except BaseException:
            if claim is not None:
                await claim.drop(stream_id)
            raise
        return Reading(Opened(hub, stream.record, stream), request.format, whole=request.whole)
    finally:
        if stream is None:
            request.unused()
            if ticket is not None:
                ticket.unused()


async def begin(
    runtime: Runtime,
    request: StreamRequest,
    *,
    label: str | None = None,
    stream_id: str | None = None,
    ticket: Ticket | None = None,
) -> LocalStream:
    """Resolve the model of a request, and begin its stream.

    Args:
        runtime: what serves the running event loop.
        request: from `parsing`.
        label: what requests for the same stream have in common.
        stream_id: the id that the stream gets; by default a new one.
        ticket: the leave to begin it, where the caller has it and gives it back if this fails.

    Raises:
        RequestError: it cannot be asked for.
        HeadwaterError: `rate_limited` for a principal who has used what `[limits]` allows.

    """
    generation = await _resolved(runtime, request)
    if ticket is None:
        ticket = runtime.limits.admit(request.principal)
    ticket.asks(request.what)
    try:
        stream = await runtime.hub.start(
            generation,
            StreamOptions(
                principal=request.principal,
                on_disconnect=request.policy,
                spoken=spoken_of(request.format),
                label=label,
                metadata=request.metadata,
                on_end=request.end,
                asked_at=request.asked_at,
            ),
            stream_id,
        )
    except BaseException:
        ticket.unused()
        raise
    ticket.begun(stream)
    return stream


async def _resolved(runtime: Runtime, request: StreamRequest) -> Generation:
    what, principal = request.what, request.principal
    wrap = _wrapper(request)
    if not isinstance(what, GenerationRequest):
        return Generation(what if wrap is None else wrap(what), OWN_MODEL, timed="never")
    # Before the model is looked for: one that the key may not ask for does not exist for it.
    if what.model is not None:
        runtime.rights.check_model(principal, what.model)
    choice = await runtime.models.resolve(what.model)
    runtime.rights.check_model(principal, choice.name)
    what = structs.replace(runtime.limits.capped(principal, what), principal=principal)
    source = choice.source(what)
    return Generation(
        source if wrap is None else wrap(source),
        choice.name,
        choice.route,
        choice.recovery(what, wrap),
        # The deadlines are for upstreams; an agent may work for an hour.
        "once begun",
    )


def _wrapper(request: StreamRequest) -> Callable[[Source], Source] | None:
    transform = request.transform
    return None if transform is None else lambda source: Transformed(source, made(transform))


async def _digest(runtime: Runtime, request: StreamRequest) -> str:
    """What tells two requests apart, where that is needed; "" for an app's generator.

    What a generator would yield is not known before: there the key alone tells requests apart.
    """
    needed = request.key is not None or (request.label is None and request.path)
    if not needed or not isinstance(request.what, GenerationRequest):
        return ""
    await runtime.turns.take(request.size)
    digest = digest_of(request.what)
    await runtime.turns.take(request.size)
    return digest


def _label(request: StreamRequest, digest: str) -> str | None:
    if request.label is None and request.path and digest:
        return label_of(request.principal, request.path, digest.encode())
    return request.label
