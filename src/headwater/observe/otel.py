"""Metrics and spans for OpenTelemetry, when the app has configured it.

Only the API is used: whose SDK, and where it sends, is the app's to say. Spans are those of the
conventions for generative AI (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/);
neither prompts nor answers are in them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.context import Context, attach
from opentelemetry.propagate import extract
from opentelemetry.trace import Span, SpanKind, StatusCode

from headwater.observe.instruments import INSTRUMENTS, Instrument
from headwater.observe.observer import Ended, Try

_SCOPE: Final = "headwater"


class OtelMeter:
    """The instruments of the meter provider that is set."""

    def __init__(self) -> None:
        meter = metrics.get_meter(_SCOPE)
        self._add: dict[str, Callable[[float, dict[str, str]], None]] = {}
        for each in INSTRUMENTS:
            if each.kind == "counter":
                self._add[each.name] = meter.create_counter(
                    each.name, each.unit, each.description
                ).add
            elif each.kind == "gauge":
                self._add[each.name] = meter.create_up_down_counter(
                    each.name, each.unit, each.description
                ).add
            else:
                self._add[each.name] = meter.create_histogram(
                    each.name,
                    each.unit,
                    each.description,
                    explicit_bucket_boundaries_advisory=each.buckets,
                ).record

    def add(self, instrument: Instrument, value: float, labels: tuple[str, ...] = ()) -> None:
        named = zip(instrument.labels, labels, strict=True)
        self._add[instrument.name](value, {name: label for name, label in named if label})


def tracer() -> OtelTracer | None:
    """None while no tracer provider is set: spans would go nowhere."""
    unset = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    return None if unset else OtelTracer()


class OtelTracer:
    """A span a stream with one below it for each request to a provider, and a span a reader."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer(_SCOPE)

    def requested(self, headers: Mapping[str, str]) -> None:
        """Take the caller's span for the parent, unless the app has one of its own."""
        if not trace.get_current_span().get_span_context().is_valid:
            attach(extract(headers))

    def stream(self, stream: str, model: str, route: str | None, wire: str | None) -> _StreamSpan:
        span = self._tracer.start_span(f"stream {model}"[:200])
        span.set_attribute("headwater.stream", stream)
        span.set_attribute("gen_ai.request.model", model)
        if wire is not None:
            span.set_attribute("headwater.wire", wire)
        return _StreamSpan(self._tracer, span)

    def reader(self, stream: str, wire: str, resumed: bool) -> Callable[[str], None]:
        span = self._tracer.start_span(f"read {wire}", kind=SpanKind.SERVER)
        span.set_attribute("headwater.stream", stream)
        span.set_attribute("headwater.wire", wire)
        span.set_attribute("headwater.resumed", resumed)

        def left(how: str) -> None:
            span.set_attribute("headwater.left", how)
            span.end()

        return left


class _StreamSpan:
    def __init__(self, tracer: trace.Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span

    def end(self, ended: Ended) -> None:
        below = trace.set_span_in_context(self._span)
        last = len(ended.tries) - 1
        for number, tried in enumerate(ended.tries):
            # The one that answered went on to the end, and is what the tokens are counted for.
            answered = tried.outcome == "answered"
            self._try(below, tried, ended if answered or number == last else None)
        span = self._span
        _finish(span, ended)
        span.set_attribute("headwater.repairs", ended.repairs)
        span.set_attribute("headwater.ended_by", ended.ended_by)
        span.end()

    def _try(self, below: Context, tried: Try, ended: Ended | None) -> None:
        provider, _, model = tried.route.partition("/")
        span = self._tracer.start_span(
            f"chat {model}"[:200],
            below,
            SpanKind.CLIENT,
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": provider,
                "gen_ai.request.model": model,
                "gen_ai.request.stream": True,
                "headwater.hedge": tried.hedge,
                "headwater.outcome": tried.outcome,
            },
            start_time=_wall(tried.began_at),
        )
        if tried.outcome not in ("answered", "cancelled"):
            span.set_attribute("error.type", tried.outcome)
            span.set_status(StatusCode.ERROR)
        elif ended is not None:
            _finish(span, ended)
        span.end(_wall(tried.ended_at))


def _finish(span: Span, ended: Ended) -> None:
    if ended.failed:
        span.set_attribute("error.type", ended.outcome)
        span.set_status(StatusCode.ERROR)
    else:
        span.set_attribute("gen_ai.response.finish_reasons", [ended.outcome])
    if ended.input_tokens is not None:
        span.set_attribute("gen_ai.usage.input_tokens", ended.input_tokens)
    if ended.output_tokens is not None:
        span.set_attribute("gen_ai.usage.output_tokens", ended.output_tokens)
    if ended.first_token_s is not None:
        span.set_attribute("gen_ai.response.time_to_first_chunk", ended.first_token_s)


def _wall(at: float) -> int:
    """Nanoseconds of Unix time, of a reading of `time.monotonic()`."""
    return time.time_ns() - int((time.monotonic() - at) * 1e9)
