"""What another process needs to go on with a stream is kept while the stream is open, no longer."""

from __future__ import annotations

from headwater.events.position import START, Position
from headwater.stores.base import Record
from tests.stores.backends import Make, every_store, shared_stores
from tests.stores.driving import P1, P2, driven

PLAN = b'{"request": "\xc3\xa9"}'


@every_store
def test_a_plan_goes_with_the_end(make: Make) -> None:
    with driven(make) as store:
        for name, plan in (("with", PLAN), ("without", None)):
            node = store.store.node
            store.run(store.store.create(Record(name, "me", "m", 1, node=node), plan))
            assert store.run(store.store.plan(name)) == plan
        assert store.run(store.store.plan("none")) is None
        assert store.append("with", START, P1, b"a") == "ok"
        assert store.run(store.store.plan("with")) == PLAN
        assert store.append("with", P1, P2, b"b", closes=True) == "ok"
        assert store.run(store.store.plan("with")) is None


@shared_stores
def test_whoever_takes_a_stream_over_has_its_plan_until_it_ends(make: Make) -> None:
    with driven(make, count=2) as store:
        first, second = store.stores
        store.run(first.create(Record("s", "me", "m", 1, node=first.node), PLAN))
        assert store.run(second.takeover("s", first.node)) is not None
        assert store.run(second.plan("s")) == PLAN
        fence, last = Position(2, 0), Position(2, 1)
        assert store.append("s", fence, last, b"end", closes=True, by=second) == "ok"
        assert store.run(second.plan("s")) is None
