"""The picture of a comparison: a lane a side over one time axis, a tick for each arrival. SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from headwater.cli.comparison.figures import Row, pairs, spread
from headwater.cli.comparison.runs import Run

_WIDTH: Final = 960
_LABEL: Final = 100  # of the lane's name, left of it
_FIGURE: Final = 120  # of the times, right of it
_SPAN: Final = _WIDTH - _LABEL - _FIGURE
_HEAD: Final = 30  # the model's name
_LANE: Final = 44
_BAR: Final = 28
_AXIS: Final = 30
_STEPS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
_MARKS: Final = 10

STYLE: Final = """\
svg text { font: 13px system-ui, sans-serif; fill: var(--text) }
svg .quiet { fill: var(--quiet) }
svg .name { font-weight: 600 }
svg .grid { stroke: var(--line) }
svg .wait { stroke: var(--quiet); stroke-width: 1.5; stroke-dasharray: 2 4 }
svg .streamed { fill: var(--streamed) }
svg .whole { fill: var(--whole) }
svg .flow { opacity: .16 }
"""


def picture(made: Sequence[Row]) -> str:
    """An `<svg>` for a page that has `STYLE`; a model's times share the axis of all."""
    shown = [(row, run) for row in made if (run := row.typical) is not None]
    longest = max((run.total_s or 0.0 for _, run in shown), default=0.0) or 1.0
    height = len(pairs(made)) * (_HEAD + 2 * _LANE) + _AXIS
    parts = [_axis(longest, height)]
    top = 0
    for pair in pairs(made):
        parts.append(f'<text class="name" x="0" y="{top + 19}">{escape(pair[0].model)}</text>')
        top += _HEAD
        for row in pair:
            parts.append(_lane(row, row.typical, top + _LANE // 2, longest))
            top += _LANE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        'aria-label="When the pieces of each answer arrived">\n' + "\n".join(parts) + "\n</svg>"
    )


def _axis(longest: float, height: int) -> str:
    step = next((step for step in _STEPS if longest / step <= _MARKS), _STEPS[-1])
    parts = []
    for mark in range(int(longest / step + 1e-9) + 1):
        x, at = _x(mark * step, longest), mark * step
        parts.append(f'<path class="grid" d="M{x} {_HEAD - 4}V{height - _AXIS + 4}"/>')
        unit = " s" if mark == 0 else ""
        parts.append(
            f'<text class="quiet" x="{x}" y="{height - 8}" text-anchor="middle">{at:g}{unit}</text>'
        )
    return "\n".join(parts)


def _lane(row: Row, run: Run | None, middle: int, longest: float) -> str:
    name = f'<text x="0" y="{middle + 5}">{row.side}</text>'
    if run is None or run.total_s is None:
        return f'{name}<text class="quiet" x="{_LABEL}" y="{middle + 5}">no answer</text>'
    end, top = _x(run.total_s, longest), middle - _BAR // 2
    first = _x(run.first_s or run.total_s, longest)
    parts = [name, f'<path class="wait" d="M{_x(0, longest)} {middle}H{first}"/>']
    if len(run.pieces) > 1:
        parts.append(
            f'<rect class="flow {row.side}" x="{first}" y="{top}" '
            f'width="{round(end - first, 1)}" height="{_BAR}"/>'
        )
    # One path for all ticks: a page with an element for each of ten thousand would be slow.
    half = 0.6 if len(run.pieces) > 1 else 2
    ticks = "".join(
        f"M{round(_x(at, longest) - half, 1)} {top}h{2 * half}v{_BAR}h-{2 * half}z"
        for at, _ in run.pieces
    )
    parts.append(f'<path class="{row.side}" d="{ticks}"/>')
    said = spread([run.first_s])
    if said is not None:
        parts.append(
            f'<text class="quiet" x="{_WIDTH}" y="{middle + 5}" text-anchor="end">'
            f"first at {said.text()}</text>"
        )
    return "".join(parts)


def _x(at: float, longest: float) -> float:
    return round(_LABEL + at / longest * _SPAN, 1)
