"""Every metric: its name, its labels, and its sentence of documentation.

Those of generations are OpenTelemetry's, with its names, units and buckets (semantic conventions
for generative AI, "Metrics", https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/);
the others are ours.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, Protocol

Kind = Literal["counter", "gauge", "histogram"]

#: Where prometheus-client keeps the values of several processes, when it is set at its import.
FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"


class Instrument(NamedTuple):
    """A metric. `labels` are attributes' names; the unit of time is the second."""

    kind: Kind
    name: str
    unit: str
    description: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


class Meter(Protocol):
    """Where values go. Called on the event loop; must not block, must not raise."""

    def add(self, instrument: Instrument, value: float, labels: tuple[str, ...] = ()) -> None:
        """Count `value`, or observe it; to a gauge it is a difference."""


_OPERATION: Final = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
_SECONDS: Final = tuple(0.01 * 2**power for power in range(14))

FIRST_TOKEN: Final = Instrument(
    "histogram",
    "gen_ai.server.time_to_first_token",
    "s",
    "From the request to the first token, of streams that ended well.",
    _OPERATION,
    (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
PER_TOKEN: Final = Instrument(
    "histogram",
    "gen_ai.server.time_per_output_token",
    "s",
    "Mean time between tokens after the first, of streams that ended well.",
    _OPERATION,
    (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)
DURATION: Final = Instrument(
    "histogram",
    "gen_ai.client.operation.duration",
    "s",
    "From the request to the end of its stream.",
    (*_OPERATION, "error.type"),
    _SECONDS,
)
TOKENS: Final = Instrument(
    "histogram",
    "gen_ai.client.token.usage",
    "{token}",
    "Tokens that a generation took in and gave out, as the provider counts them.",
    (*_OPERATION, "gen_ai.token.type"),
    tuple(float(4**power) for power in range(14)),
)
STREAMS: Final = Instrument("gauge", "headwater.streams", "{stream}", "Streams that run here.")
ENDED: Final = Instrument(
    "counter",
    "headwater.streams.ended",
    "{stream}",
    "Streams that ended, by the reason or the error's code, and by what ended them.",
    ("outcome", "ended_by"),
)
ATTEMPTS: Final = Instrument(
    "counter",
    "headwater.attempts",
    "{request}",
    "Requests to providers: answered, lost a race, or the code of their failure.",
    ("gen_ai.provider.name", "outcome"),
)
HEDGES: Final = Instrument(
    "counter",
    "headwater.hedges",
    "{request}",
    "Second requests because the first token was late, by whether they had it first.",
    ("won",),
)
REPAIRS: Final = Instrument(
    "counter", "headwater.repairs", "{repair}", "Continuations of an answer that was cut."
)
READERS: Final = Instrument(
    "gauge", "headwater.readers", "{reader}", "Readers of streams, by wire.", ("wire",)
)
RESUMES: Final = Instrument(
    "counter", "headwater.resumes", "{reader}", "Readers who came back to a position.", ("wire",)
)
LEFT: Final = Instrument(
    "counter",
    "headwater.readers.left",
    "{reader}",
    "Readers by how they ended: whole, left, slow (cut, or gone full), failed.",
    ("how",),
)
OVERHEAD: Final = Instrument(
    "histogram",
    "headwater.overhead",
    "s",
    "Our own share of the time to the first token.",
    (),
    (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
)
REFUSED: Final = Instrument(
    "counter",
    "headwater.refused",
    "{request}",
    "Requests that were answered with the status of an error.",
    ("http.response.status_code",),
)

INSTRUMENTS: Final = (
    FIRST_TOKEN,
    PER_TOKEN,
    DURATION,
    TOKENS,
    STREAMS,
    ENDED,
    ATTEMPTS,
    HEDGES,
    REPAIRS,
    READERS,
    RESUMES,
    LEFT,
    OVERHEAD,
    REFUSED,
)
