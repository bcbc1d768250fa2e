"""The comparison as a page that stands alone: it loads nothing, and is light or dark as asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from typing import Final

from headwater.cli.comparison import picture
from headwater.cli.comparison.figures import ENOUGH_FOR_P95, Row, compared, pairs, words
from headwater.cli.comparison.table import HEAD, cells, reasons

_STYLE: Final = """\
:root { color-scheme: light dark; --back: #fff; --text: #1f2328; --quiet: #59636e; --line: #d1d9e0;
  --streamed: #0969da; --whole: #bc4c00 }
@media (prefers-color-scheme: dark) {
  :root { --back: #0d1117; --text: #e6edf3; --quiet: #9198a1; --line: #3d444d;
    --streamed: #4493f8; --whole: #f0883e }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.3rem; margin: 0 0 .5rem }
blockquote { margin: 0 0 1.5rem; padding-left: 1rem; border-left: 3px solid var(--line);
  color: var(--quiet); white-space: pre-wrap; overflow-wrap: anywhere;
  max-height: 12rem; overflow-y: auto }
svg { display: block; width: 100%; height: auto; margin: 1.5rem 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100% }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line) }
th { font-weight: 600 }
.failed { color: var(--whole) }
small { color: var(--quiet) }
"""
_NOTES: Final = (
    "Each model was asked the same prompt twice over: streamed, and with "
    '<code>"stream": false</code>, which is timed until the answer is there. They are two '
    "requests, one at a time; a model writes anew for each, a tape has the same tokens for both. "
    "The picture shows the run whose first piece came nearest to the median, with a tick for each "
    "piece as it arrived. Times are medians, with the least and the greatest where there are "
    f"several runs, and the 95th percentile from {ENOUGH_FOR_P95} on. “Nothing to read” is the "
    "time that a reader at 238 words a minute is ahead of the text."
)


def report(prompt: str, made: Sequence[Row]) -> str:
    """HTML."""
    made_at = time.strftime("%Y-%m-%d %H:%M %Z")
    said = [f"<p>{escape(words(pair))}</p>" for pair in pairs(made) if compared(pair)]
    failed = [f'<p class="failed">{escape(reason)}</p>' for reason in reasons(made)]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            # Nothing of an answer could load or run anything, should an escape be missing.
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>Streamed and whole</title>\n<style>\n{_STYLE}{picture.STYLE}</style>\n</head>",
            f"<body>\n<h1>Streamed and whole</h1>\n<blockquote>{escape(prompt)}</blockquote>",
            *said,
            *failed,
            picture.picture(made),
            _table(made),
            f"<p><small>{_NOTES}</small></p>",
            f"<p><small>headwater {version('headwater')}, {made_at}</small></p>",
            "</body>\n</html>\n",
        ]
    )


def _table(made: Sequence[Row]) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in HEAD)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells(row)) + "</tr>"
        for row in made
    )
    return f'<div class="scroll"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'
