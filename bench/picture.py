"""The picture: CPU a token and tokens a second, as bars on a scale of tens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from bench.figures import Figures

_WIDTH, _BAR, _STEP, _LABEL, _PANEL = 960, 16, 26, 250, 260
_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .figure { fill: #57606a }
.bar { fill: #afb8c1 } .ours { fill: #0969da } .floor { fill: #6e7781 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .figure { fill: #9198a1 }
  .bar { fill: #57606a } .ours { fill: #4493f8 } .floor { fill: #9198a1 }
}"""


def picture(figures: Figures) -> str:
    """SVG: a row a relay, the cheapest first."""
    rows = []
    for relay in figures.relays("paced"):
        cost = figures.median(relay.name, "paced", "cpu_us")
        rate = figures.median(relay.name, "burst", "tokens_s")
        if cost and rate:
            rows.append((cost, rate, relay.name, _kind(relay.name, relay.peer)))
    rows.sort()
    height = 50 + _STEP * len(rows)
    body = [
        _panel(_LABEL, "CPU a token at a reader's pace, µs", [(row[0], row[3]) for row in rows]),
        _panel(_LABEL + _PANEL + 90, "tokens/s in a burst", [(row[1], row[3]) for row in rows]),
        *(
            f'<text x="{_LABEL - 10}" y="{_top(n) + 13}" text-anchor="end">{escape(row[2])}</text>'
            for n, row in enumerate(rows)
        ),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">\n'
        f"<title>CPU a token and tokens a second of each relay</title>\n<style>{_STYLE}</style>\n"
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _kind(name: str, peer: bool) -> str:
    if name.startswith("Headwater"):
        return "ours"
    return "bar" if peer else "floor"


def _top(n: int) -> int:
    return 36 + _STEP * n


def _panel(left: int, title: str, bars: Sequence[tuple[float, str]]) -> str:
    if not bars:
        return ""
    # A decade below the least, so that the least has a bar too.
    low = math.floor(math.log10(min(value for value, _ in bars))) - 0.3
    high = math.log10(max(value for value, _ in bars))
    parts = [f'<text class="title" x="{left}" y="20">{title} (log scale)</text>']
    for n, (value, kind) in enumerate(bars):
        width = round((math.log10(value) - low) / (high - low) * (_PANEL - 30), 1)
        y = _top(n)
        parts.append(
            f'<rect class="{kind}" x="{left}" y="{y}" width="{width}" height="{_BAR}" rx="2"/>'
            f'<text class="figure" x="{left + width + 6}" y="{y + 13}">{_short(value)}</text>'
        )
    return "\n".join(parts)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
