"""The comparison as JSON: every run, and what they come to. Times are milliseconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from headwater.cli.comparison.figures import Row, Spread, compared, pairs
from headwater.cli.comparison.runs import Run


def as_text(prompt: str, made: Sequence[Row]) -> str:
    """One object, indented."""
    models = [
        {
            "model": pair[0].model,
            "compared": compared(pair),
            **{row.side: _row(row) for row in pair},
        }
        for pair in pairs(made)
    ]
    return json.dumps({"prompt": prompt, "models": models}, ensure_ascii=False, indent=1)


def _row(row: Row) -> dict[str, Any]:
    return {
        "first": _spread(row.first),
        "total": _spread(row.total),
        "waited": _spread(row.waited),
        "tokens": row.tokens,
        "runs": [_run(run) for run in row.done],
        "errors": list(row.errors),
    }


def _spread(spread: Spread | None) -> dict[str, Any] | None:
    if spread is None:
        return None
    return {
        "median": _ms(spread.median),
        "min": _ms(spread.least),
        "max": _ms(spread.most),
        "p95": _ms(spread.p95),
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "first": _ms(run.first_s),
        "total": _ms(run.total_s),
        "waited": _ms(run.waited_s),
        "tokens": run.tokens,
        "arrivals": [[_ms(at), characters] for at, characters in run.pieces],
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
