"""An app that has configured OpenTelemetry, and shows what was exported: `tests.observe.app:app`."""

from __future__ import annotations

import json
import os
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from headwater import Headwater

spans, values = InMemorySpanExporter(), InMemoryMetricReader()
tracing = TracerProvider()
tracing.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(tracing)
metrics.set_meter_provider(MeterProvider([values]))

hw = Headwater(config=os.environ["TEST_CONFIG"], principal=lambda request: "somebody")


def told(request: Request) -> JSONResponse:
    """Everything that was exported so far."""
    data = values.get_metrics_data()
    points: list[Any] = []
    if data is not None:
        for resource in json.loads(data.to_json())["resource_metrics"]:
            points += [metric for scope in resource["scope_metrics"] for metric in scope["metrics"]]
    finished = [json.loads(span.to_json()) for span in spans.get_finished_spans()]
    return JSONResponse({"spans": finished, "metrics": points})


app = Starlette(routes=[Route("/told", told), Mount("/ai", hw.asgi())])
