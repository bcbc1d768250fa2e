"""One stream, hedged once and resumed once, as those who run the server see it."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headwater.testing import STALL, Answer, FaultyUpstream, chat
from tests.helpers.arrivals import request
from tests.helpers.polling import eventually
from tests.helpers.processes import environment, stopped_at_the_end
from tests.server.serving import Reader, Served, ask, ids, serving

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
BOUND_S = 10.0
SECRET = "the prompt that nobody else may read"
SPOKEN = "the answer that nobody else may read"
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
SLOW = Answer([STALL])
CONFIG = """
[providers.one]
base_url = "{one}"
[providers.two]
base_url = "{two}"
[models.m]
route = ["one/a", "two/b"]
hedge = {{ after = 0.2, max_extra = 1 }}
"""


@contextlib.contextmanager
def upstreams(tmp_path: Path) -> Iterator[Path]:
    """The first never answers; the second does."""
    with FaultyUpstream(SLOW) as one, FaultyUpstream(chat(SPOKEN.split(" "), usage=USAGE)) as two:
        config = tmp_path / "routes.toml"
        config.write_text(CONFIG.format(one=one.url, two=two.url))
        yield config


def hedged_and_resumed(port: int, prefix: str = "", headers: dict[str, str] | None = None) -> str:
    """One stream, read whole, and once more from its second position; its id."""
    body = {"prompt": SECRET, "model": "m"}
    first = Reader(request(port, f"{prefix}/v1/streams", body, headers or {}, timeout_s=BOUND_S))
    whole = first.rest()
    assert len(ids(whole)) > 2, whole
    position = ids(whole)[1]
    rest = ask(port, f"{prefix}/v1/streams/{first.stream}?after={position}").body
    assert rest
    assert whole.endswith(rest)
    return first.stream


def samples(page: str) -> dict[str, float]:
    """What a page of Prometheus says of us, without times: a sample's name and labels, its value."""
    found = {}
    for family in text_string_to_metric_families(page):
        if not family.name.startswith(("gen_ai_", "headwater_")):
            continue
        for sample in family.samples:
            if re.search(r"_(bucket|created)$", sample.name) or sample.value == 0:
                continue
            if sample.name.endswith("seconds_sum"):
                assert 0 < sample.value < BOUND_S, sample
                continue
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


ON_TWO = "gen_ai_operation_name=chat,gen_ai_provider_name=two,gen_ai_request_model=m"
ON_TWO_OTEL = "gen_ai.operation.name=chat,gen_ai.provider.name=two,gen_ai.request.model=m"
EXPECTED = {
    f"gen_ai_server_time_to_first_token_seconds_count{{{ON_TWO}}}": 1,
    f"gen_ai_server_time_per_output_token_seconds_count{{{ON_TWO}}}": 1,
    f"gen_ai_client_operation_duration_seconds_count{{error_type=,{ON_TWO}}}": 1,
    f"gen_ai_client_token_usage_count{{{ON_TWO},gen_ai_token_type=input}}": 1,
    f"gen_ai_client_token_usage_sum{{{ON_TWO},gen_ai_token_type=input}}": 3,
    f"gen_ai_client_token_usage_count{{{ON_TWO},gen_ai_token_type=output}}": 1,
    f"gen_ai_client_token_usage_sum{{{ON_TWO},gen_ai_token_type=output}}": 5,
    "headwater_streams_ended_total{ended_by=provider,outcome=stop}": 1,
    "headwater_attempts_total{gen_ai_provider_name=one,outcome=cancelled}": 1,
    "headwater_attempts_total{gen_ai_provider_name=two,outcome=answered}": 1,
    "headwater_hedges_total{won=true}": 1,
    "headwater_resumes_total{wire=native}": 1,
    "headwater_readers_left_total{how=whole}": 2,
    "headwater_overhead_seconds_count{}": 1,
    "headwater_refused_total{http_response_status_code=404}": 1,
}


@pytest.mark.parametrize("workers", [1, 2])
def test_metrics_of_one_stream(tmp_path: Path, workers: int) -> None:
    store = f"sqlite:///{tmp_path}/s.db"
    with (
        upstreams(tmp_path) as config,
        serving("--config", str(config), "--workers", str(workers), "--store", store, cwd=tmp_path)
        as served,
    ):  # fmt: skip
        hedged_and_resumed(served.port)
        assert ask(served.port, "/nothing").status == 404
        page = ""

        def told() -> bool:
            nonlocal page
            answer = ask(served.port, "/metrics")
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            page = answer.body.decode()
            return samples(page) == EXPECTED

        with contextlib.suppress(AssertionError):  # a reader's end is counted after it has it
            eventually(told, "every metric is there")
        assert samples(page) == EXPECTED
        if workers == 1:
            assert "process_resident_memory_bytes" in page
        assert SECRET not in page


def test_a_callers_names_are_not_labels_for_ever(tmp_path: Path) -> None:
    with FaultyUpstream() as upstream, serving("--upstream", upstream.url, cwd=tmp_path) as served:
        for number in range(130):
            ask(served.port, "/v1/streams", {"prompt": "x", "model": f"model-{number}"})
        page = ask(served.port, "/metrics").body.decode()
        duration = next(
            f for f in text_string_to_metric_families(page)
            if f.name == "gen_ai_client_operation_duration_seconds"
        )  # fmt: skip
        models = Counter[str]()
        for sample in duration.samples:
            if sample.name.endswith("_count"):
                models[sample.labels["gen_ai_request_model"]] += int(sample.value)
        assert len(models) == 101
        assert models["_OTHER"] == 30


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_in_the_log_for_every_stream(tmp_path: Path, form: str) -> None:
    settings = {"HEADWATER_SERVER__LOG_FORMAT": form, "HEADWATER_SERVER__LOG_LEVEL": "info"}
    with (
        upstreams(tmp_path) as config,
        serving("--config", str(config), cwd=tmp_path, environ=settings) as served,
    ):
        stream = hedged_and_resumed(served.port, headers={"X-Request-Id": "mine-1"})
        served.line(f"stream {stream}: stop")
        line = next(line for line in served.output.splitlines() if stream in line)
    assert SECRET not in served.output
    assert SPOKEN.split(" ")[1] + " " not in line
    if form == "json":
        entry = json.loads(line)
        assert 0 < entry.pop("first_token_ms") <= entry.pop("total_ms")
        assert entry.pop("time")
        assert entry == {
            "level": "info",
            "logger": "headwater.streams",
            "message": f"stream {stream}: stop",
            "stream": stream,
            "request_id": "mine-1",
            "model": "m",
            "route": "two/b",
            "outcome": "stop",
            "ended_by": "provider",
            "attempts": 2,
            "input_tokens": 3,
            "output_tokens": 5,
        }
    else:
        assert (
            f"stream={stream} model=m route=two/b outcome=stop ended_by=provider attempts=2" in line
        )
        assert "request_id=mine-1" in line


@contextlib.contextmanager
def traced(config: Path) -> Iterator[Served]:
    """The app under plain uvicorn."""
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "tests.observe.app:app", "--port", "0"],
        cwd=ROOT,
        env=environment(TEST_CONFIG=str(config)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with stopped_at_the_end(process):
        served = Served(process)
        served.port = int(served.line(r"running on http://127.0.0.1:(\d+)")[1])
        yield served


def test_spans_and_metrics_of_one_stream(tmp_path: Path) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with upstreams(tmp_path) as config, traced(config) as served:
        headers = {"traceparent": f"00-{trace}-{parent}-01"}
        stream = hedged_and_resumed(served.port, "/ai", headers)
        told: Any = {}

        def all_there() -> bool:
            nonlocal told
            told = ask(served.port, "/told").json
            return len(told["spans"]) >= 5

        eventually(all_there, "every span is exported")
    assert SECRET not in str(told)
    by_name = {span["name"]: span for span in told["spans"] if span["name"] != "read native"}
    generation = by_name["stream m"]
    assert generation["context"]["trace_id"] == f"0x{trace}"
    assert generation["parent_id"] == f"0x{parent}"
    first = generation["attributes"].pop("gen_ai.response.time_to_first_chunk")
    assert first > 0.2
    whole = {
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 5,
    }
    assert generation["attributes"] == {
        "headwater.stream": stream,
        "headwater.wire": "native",
        "headwater.ended_by": "provider",
        "headwater.repairs": 0,
        "gen_ai.request.model": "m",
        **whole,
    }
    lost, won = by_name["chat a"], by_name["chat b"]
    for span, provider, hedge in ((lost, "one", False), (won, "two", True)):
        assert span["parent_id"] == generation["context"]["span_id"]
        assert span["kind"] == "SpanKind.CLIENT"
        assert span["start_time"] <= span["end_time"]
        span["attributes"].pop("gen_ai.response.time_to_first_chunk", None)
        assert span["attributes"] == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": "b" if hedge else "a",
            "gen_ai.request.stream": True,
            "headwater.hedge": hedge,
            "headwater.outcome": "answered" if hedge else "cancelled",
            **(whole if hedge else {}),
        }
    readers = [span for span in told["spans"] if span["name"] == "read native"]
    assert [span["attributes"] for span in readers] == [
        {
            "headwater.stream": stream,
            "headwater.wire": "native",
            "headwater.resumed": resumed,
            "headwater.left": "whole",
        }
        for resumed in (False, True)
    ]
    assert readers[0]["context"]["trace_id"] == f"0x{trace}"
    assert len(told["spans"]) == 5
    check_metrics(told["metrics"])


def check_metrics(metrics: list[Any]) -> None:
    """The same as on Prometheus' page, under OpenTelemetry's names."""
    found = {}
    for metric in metrics:
        for point in metric["data"]["data_points"]:
            labels = ",".join(f"{k}={v}" for k, v in sorted(point["attributes"].items()))
            count = point["count"] if "count" in point else point["value"]
            if count:
                found[f"{metric['name']}{{{labels}}}"] = count
    assert found == {
        f"gen_ai.server.time_to_first_token{{{ON_TWO_OTEL}}}": 1,
        f"gen_ai.server.time_per_output_token{{{ON_TWO_OTEL}}}": 1,
        f"gen_ai.client.operation.duration{{{ON_TWO_OTEL}}}": 1,
        f"gen_ai.client.token.usage{{{ON_TWO_OTEL},gen_ai.token.type=input}}": 1,
        f"gen_ai.client.token.usage{{{ON_TWO_OTEL},gen_ai.token.type=output}}": 1,
        "headwater.streams.ended{ended_by=provider,outcome=stop}": 1,
        "headwater.attempts{gen_ai.provider.name=one,outcome=cancelled}": 1,
        "headwater.attempts{gen_ai.provider.name=two,outcome=answered}": 1,
        "headwater.hedges{won=true}": 1,
        "headwater.resumes{wire=native}": 1,
        "headwater.readers.left{how=whole}": 2,
        "headwater.overhead{}": 1,
    }
