"""What is kept of a request is bounded, string by string, and what is kept is counted whole."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headwater import wires
from headwater.events.position import START, Position
from headwater.stores.base import Record, Spoken
from headwater.stores.memory import MemoryStore
from tests.server.serving import ask
from tests.server.test_streams import resident
from tests.server.wires import EVERY_WIRE, PATHS, body_of
from tests.server.world import World, world

pytestmark = pytest.mark.system

LONG = "n" * 257


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with world(tmp_path_factory.mktemp("kept")) as w:
        yield w


def named(wire: str, model: str) -> dict[str, Any]:
    """A body that names a model."""
    forwarded = {"forwardedProps": {"model": model}}
    return body_of(wire, "?", **(forwarded if wire == "agui" else {"model": model}))


def message(name: str) -> dict[str, Any]:
    parts = [{"type": "text", "text": "?"}]
    return {"messages": [{"id": name, "role": "user", "parts": parts}]}


@pytest.mark.parametrize(
    ("wire", "body", "param"),
    [
        *((wire, named(wire, LONG), "model") for wire in EVERY_WIRE),
        ("ui", body_of("ui", "?", id=LONG), "id"),
        ("ui", body_of("ui", "?", **message(LONG)), "messages[0].id"),
        ("agui", body_of("agui", "?", threadId=LONG), "threadId"),
        ("agui", body_of("agui", "?", runId=LONG), "runId"),
        ("responses", body_of("responses", "?", user=LONG), "user"),
        ("responses", body_of("responses", "?", metadata={"k" * 65: "v"}), "metadata"),
        ("responses", body_of("responses", "?", metadata={"k": "v" * 513}), "metadata.k"),
        ("responses", body_of("responses", "?", metadata={"k": 1}), "metadata.k"),
        (
            "responses",
            body_of("responses", "?", metadata={f"k{n}": "v" for n in range(17)}),
            "metadata",
        ),
    ],
)
def test_a_string_that_would_be_kept_is_refused_by_name_when_it_is_long(
    w: World, wire: str, body: dict[str, Any], param: str
) -> None:
    answer = ask(w.port, PATHS[wire], body)
    assert answer.status == 400, answer
    if wire != "anthropic":  # whose errors have no place for it
        assert answer.error["param"] == param
    assert param.encode() in answer.body
    assert len(answer.body) < 1000
    assert w.upstream.posts == []


@pytest.mark.parametrize("wire", EVERY_WIRE)
def test_a_name_of_256_characters_is_as_good_as_any(wire: str) -> None:
    body = named(wire, "n" * 256)
    if wire == "ui":
        body |= {"id": "c" * 256, **message("m" * 256)}
    if wire == "agui":
        body |= {"threadId": "t" * 256, "runId": "r" * 256}
    if wire == "responses":
        body |= {"metadata": {f"{n:064}": "v" * 512 for n in range(16)}}
    assert wires.get(wire).parse(body).model == "n" * 256
    assert wires.get(wire).options(body) is not None


def test_sixty_model_names_of_ten_megabytes_leave_no_memory(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        ask(w.port, PATHS["native"], body_of("native", "?", model="m" * 9_900_000))
        before = resident(w.served.process.pid)
        for number in range(60):
            body = body_of("native", "?", model=f"{number:02}" + "m" * 9_900_000)
            answer = ask(w.port, PATHS["native"], body)
            assert (answer.status, answer.error["param"]) == (400, "model")
        assert resident(w.served.process.pid) - before < 64 * 1024 * 1024
        assert w.upstream.posts == []


# what is counted


def a_record(chance: random.Random, number: int) -> Record:
    def text(most: int) -> str:
        return f"{number} " + "x" * chance.randrange(most)

    return Record(
        f"{number:032x}",
        text(60),
        text(256),
        1,
        chance.choice([None, text(256)]),
        chance.choice(
            [
                None,
                Spoken("native", {}),
                Spoken("agui", {"thread": text(256), "run": text(256)}),
                Spoken("ui", {"message": text(9)}),
            ]
        ),
        "n" * 16,
        chance.choice([None, text(32)]),
        1,
        chance.choice([None, {text(64): text(512) for _ in range(chance.randrange(4))}]),
    )


@pytest.mark.parametrize("seed", range(6))
def test_what_is_counted_is_what_memory_holds(seed: int) -> None:
    """Logs with entries and without, running, ended and trimmed; claims that are held and not."""
    chance = random.Random(seed)
    most = chance.choice([300_000, 1 << 40])

    async def run() -> tuple[float, float]:
        store = MemoryStore(max_bytes=most)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(1500):
                record = a_record(chance, number)
                await store.create(record, b"p" * chance.randrange(500))
                end = START
                entries = chance.choice([1, 1, 3, 20])
                for seq in range(1, entries + 1):
                    last, data = Position(1, seq), b"%d" % seq + b"d" * chance.randrange(200)
                    store.append(record.stream, end, last, data, seq == entries, _never)
                    end = last
                await store.claim(f"{number:032x}", f"{number:032x} {seed:032x}")
                if chance.random() < 0.3:
                    await store.disclaim(f"{number:032x}", f"{number:032x} {seed:032x}")
            held = tracemalloc.get_traced_memory()[0] - before
            return held, store._bytes + store._claims.bytes
        finally:
            tracemalloc.stop()
            await store.aclose()

    held, counted = asyncio.run(run())
    assert 0.8 <= counted / held <= 2.5
    assert counted <= most


def _never(_: object) -> None:
    raise AssertionError("memory answers at once")


@pytest.mark.parametrize("what", ["records", "claims", "plans", "metadata"])
def test_whatever_is_large_stays_within_max_bytes(what: str) -> None:
    large = "x" * 20_000

    async def run() -> list[int]:
        store = MemoryStore(max_bytes=1_000_000)
        sizes = []
        for number in range(300):
            record = Record(f"s{number}", "me", "m", 1, label=f"l{number}")
            if what == "claims":
                await store.claim(f"{number} {large}", large)
            if what == "records":
                record = msgspec.structs.replace(
                    record, spoken=Spoken("native", {"text": f"{number} {large}"})
                )
            if what == "metadata":
                record = msgspec.structs.replace(record, metadata={f"{number}": large})
            await store.create(record, large.encode() if what == "plans" else None)
            store.append(record.stream, START, Position(1, 1), b"end", True, _never)
            sizes.append(store._bytes + store._claims.bytes)
        await store.aclose()
        return sizes

    assert max(asyncio.run(run())) <= 1_000_000


def test_a_session_is_not_dropped_for_the_claims_of_others() -> None:
    async def run() -> None:
        store = MemoryStore(max_bytes=100_000)
        await store.claim("session", "me", 86_400.0)
        for number in range(1000):
            await store.claim(f"key {number}", "value")
        assert await store.claimed("session") == "me"
        assert await store.claimed("key 0") is None
        assert await store.claimed("key 999") == "value"
        await store.aclose()

    asyncio.run(run())
