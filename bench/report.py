"""The page of results, written wholly by the command."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.checks import checks
from bench.figures import Figures, ratio
from bench.machine import Machine
from bench.peers.nginx import Nginx
from bench.workloads import WORKLOADS

#: A column: its title, and the cell of a relay.
Column = tuple[str, Callable[[str], str]]

_HEAD = """\
# What a token costs

Written by `{command}`, which measured it: {machine}, {date}, {rounds}.

Everything runs on this machine, on loopback, each relay as one server process; they take turns, and
a figure is the median of the rounds. CPU is the operating system's account of all processes of a
relay. The upstream and the load generator are C programs (`bench/native`). "≁": not every stream
was whole within the time given; the relay does not keep this pace.

![CPU a token and tokens a second of each relay](images/benchmarks.svg)
"""


def page(figures: Figures, machine: Machine, command: str, rounds: int) -> str:
    """Markdown."""
    head = _HEAD.format(
        command=command,
        machine=machine.text,
        date=machine.date,
        rounds=f"{rounds} rounds" if rounds > 1 else "one round",
    )
    parts = [head, *_tables(figures), _checks(figures), _workloads(), _versions(figures)]
    return "\n".join(part for part in parts if part)


def _tables(figures: Figures) -> list[str]:
    f = _Cells(figures)
    main: list[Column] = [
        ("burst: tokens/s", f.cell("burst", "tokens_s", "{:,.0f}")),
        ("to nginx", f.to_nginx("burst", "tokens_s")),
        ("CPU µs/token", f.cell("burst", "cpu_us", "{:,.1f}")),
        ("paced: CPU µs/token", f.cell("paced", "cpu_us", "{:,.1f}")),
        ("to nginx", f.to_nginx("paced", "cpu_us")),
        ("age p99 ms", f.cell("paced", "age_p99", "{:,.1f}")),
        ("first token p50 ms", f.cell("first", "first_p50", "{:,.2f}")),
        ("RSS MB", f.cell("first", "rss", "{:,.0f}", 1e-6)),
    ]
    many: list[Column] = [
        ("CPU µs/token", f.cell("many", "cpu_us", "{:,.1f}")),
        ("age p99 ms", f.cell("many", "age_p99", "{:,.1f}")),
        ("first token p50 ms", f.cell("many", "first_p50", "{:,.2f}")),
        ("p99 ms", f.cell("many", "first_p99", "{:,.1f}")),
        ("few: CPU µs/token", f.cell("few", "cpu_us", "{:,.1f}")),
    ]
    tls: list[Column] = [
        ("paced-100: CPU µs/token", f.cell("paced-100", "cpu_us", "{:,.1f}")),
        ("age p99 ms", f.cell("paced-100", "age_p99", "{:,.1f}")),
        ("paced-tls: CPU µs/token", f.cell("paced-tls", "cpu_us", "{:,.1f}")),
        ("age p99 ms", f.cell("paced-tls", "age_p99", "{:,.1f}")),
        ("connect-tls: CPU µs/stream", f.cell("connect-tls", "cpu_us_stream", "{:,.0f}")),
        ("first token p50 ms", f.cell("connect-tls", "first_p50", "{:,.1f}")),
    ]
    logs: list[Column] = [
        ("fan-out: CPU µs/event", f.cell("fan-out", "cpu_us", "{:,.2f}")),
        ("age p99 ms", f.cell("fan-out", "age_p99", "{:,.1f}")),
        ("resume: first byte ms", f.cell("resume", "first_p50", "{:,.2f}")),
        ("events/s", f.cell("resume", "events_s", "{:,.0f}")),
        ("of large entries: events/s", f.cell("resume, large entries", "events_s", "{:,.0f}")),
        ("long log: CPU µs/token at its start", f.cell("long log", "cpu_us_start", "{:,.1f}")),
        ("at its end", f.cell("long log", "cpu_us_end", "{:,.1f}")),
    ]
    idle: list[Column] = [("kB a quiet stream", f.cell("idle", "kb_stream", "{:,.1f}"))]
    soak: list[Column] = [
        ("minutes", f.cell("soak", "minutes", "{:,.0f}")),
        ("tokens", f.cell("soak", "tokens", "{:,.0f}")),
        ("MB, first quarter", f.cell("soak", "mb_first", "{:,.1f}")),
        ("last quarter", f.cell("soak", "mb_last", "{:,.1f}")),
        ("most", f.cell("soak", "mb_most", "{:,.1f}")),
    ]
    return [
        f.table("Burst, paced, first token", "paced", main),
        f.table("Many streams", "many", many),
        f.table("A hundred streams, and the upstream behind TLS", "paced-100", tls),
        f.table("What a log can do", "fan-out", logs),
        f.table("Quiet streams", "idle", idle),
        f.table("Soak", "soak", soak),
    ]


def summary(figures: Figures) -> str:
    """The few columns that README shows."""
    f = _Cells(figures)
    columns: list[Column] = [
        ("CPU a token, µs", f.cell("paced", "cpu_us", "{:,.0f}")),
        ("tokens/s in a burst", f.cell("burst", "tokens_s", "{:,.0f}")),
        ("first token, ms", f.cell("first", "first_p50", "{:,.2f}")),
        ("memory, MB", f.cell("first", "rss", "{:,.0f}", 1e-6)),
    ]
    return f.table("", "paced", columns).removeprefix("## \n\n")


class _Cells:
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def cell(
        self, workload: str, metric: str, form: str, scale: float = 1.0
    ) -> Callable[[str], str]:
        def text(relay: str) -> str:
            value = self._figures.median(relay, workload, metric)
            if value is None:
                return ""
            behind = "" if self._figures.complete(relay, workload) else " ≁"
            return form.format(value * scale) + behind

        return text

    def to_nginx(self, workload: str, metric: str) -> Callable[[str], str]:
        def text(relay: str) -> str:
            nginx = self._figures.median(Nginx.name, workload, metric)
            value = ratio(self._figures.median(relay, workload, metric), nginx)
            return "" if value is None else f"{value:.2g}×" if value < 10 else f"{value:,.0f}×"

        return text

    def table(self, title: str, workload: str, columns: Sequence[Column]) -> str:
        relays = [relay.name for relay in self._figures.relays(workload)]
        if not relays:
            return ""
        rows = [[relay, *(cell(relay) for _, cell in columns)] for relay in relays]
        return f"## {title}\n\n{_markdown(['relay', *(title for title, _ in columns)], rows)}"


def _checks(figures: Figures) -> str:
    rows = [
        [
            check.sentence,
            f"{'≤' if check.at_most else '≥'} {check.bound:,.3g}{check.unit}"
            if check.bound < 1000
            else f"≥ {check.bound:,.0f}",
            f"{check.value:,.3g}{check.unit}" if check.value < 1000 else f"{check.value:,.0f}",
            "reached" if check.reached else "**not reached**",
        ]
        for check in checks(figures)
        if check.value is not None
    ]
    return f"## Aims\n\n{_markdown(['aim', 'bound', 'measured', ''], rows)}" if rows else ""


def _workloads() -> str:
    rows = [[workload.name, workload.sentence] for workload in WORKLOADS]
    rows += [[name, sentence] for name, sentence in _OTHERS.items()]
    return f"## Workloads\n\n{_markdown(['', ''], rows)}"


_OTHERS = {
    "fan-out": "one stream of 200 tokens at 20/s, 1,000 readers that join it at once",
    "resume": "replay of an ended log of 10,000 events that came one by one; and as a burst",
    "long log": "10 streams of 6,000 tokens at 500/s each, accounted for near both ends",
    "idle": "5,000 streams that have had one token: growth of the server's memory",
    "soak": "150 streams begun a second, 60 tokens at 20/s each, store.max_bytes 16 MiB",
}


def _versions(figures: Figures) -> str:
    rows = [
        [entry.relay.name, f"not run: {entry.missing}" if entry.missing else entry.versions]
        for entry in figures.entries
    ]
    failed = [f"- {relay}, {what}: {why}\n" for (relay, what), why in figures.failures.items()]
    told = f"\nNot measured:\n\n{''.join(failed)}" if failed else ""
    return f"## Versions\n\n{_markdown(['relay', ''], rows)}{told}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1) if len(head) > 2 else ["---"] * 2, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
