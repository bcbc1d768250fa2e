"""The page on metrics and the dashboard say what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from headwater.observe.instruments import INSTRUMENTS, Instrument

ROOT = Path(__file__).parents[2]


def prometheus_name(instrument: Instrument) -> str:
    name = instrument.name.replace(".", "_")
    if instrument.kind == "counter":
        return f"{name}_total"
    return f"{name}_seconds" if instrument.unit == "s" else name


def row(instrument: Instrument) -> str:
    labels = ", ".join(f"`{label.replace('.', '_')}`" for label in instrument.labels)
    name, text = prometheus_name(instrument), instrument.description.rstrip(".")
    return f"| `{name}` | {labels} | {text} ({instrument.kind}) |"


def test_every_metric_is_documented() -> None:
    rows = [
        line
        for line in (ROOT / "docs/observability.md").read_text().splitlines()
        if line.startswith(("| `gen_ai", "| `headwater"))
    ]
    assert rows == [row(instrument) for instrument in INSTRUMENTS]


def test_the_dashboard_asks_for_metrics_and_labels_that_there_are() -> None:
    known = {prometheus_name(each): each for each in INSTRUMENTS}
    shown = set()
    for panel in json.loads((ROOT / "deploy/grafana.json").read_text())["panels"]:
        for target in panel["targets"]:
            names = re.findall(r"(?:gen_ai|headwater)_\w+", target["expr"])
            metric = next(
                name.removesuffix(suffix)
                for name in names
                for suffix in ("_bucket", "_sum", "_count", "")
                if name.removesuffix(suffix) in known
            )
            shown.add(metric)
            labels = {label.replace(".", "_") for label in known[metric].labels} | {"le"}
            grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
            assert {label.strip() for group in grouped for label in group.split(",")} <= labels
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels
    assert shown == set(known)
