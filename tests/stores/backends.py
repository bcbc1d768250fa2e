"""The stores there are. One joins by a line in `BACKENDS`, and every test of the contract runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from headwater.stores.base import Store
from headwater.stores.memory import MemoryStore
from headwater.stores.redis import RedisStore
from headwater.stores.sqlite import SqliteStore
from tests.helpers.redis import empty_redis

#: Makes a store at some place; all that it makes share what is there.
Make = Callable[..., Store]


def nothing(_store: Store) -> None:
    """There is no connection on which a reply could be lost."""


@dataclass(frozen=True)
class Backend:
    """`place` gives an empty place in a folder. `fake_clock`: it measures by the loop's clock.

    `lose_replies` breaks the connection on which replies to appends would come.
    """

    place: Callable[[Path], Make]
    shared: bool = True
    fake_clock: bool = False
    lose_replies: Callable[[Store], None] = nothing
    marks: tuple[pytest.MarkDecorator, ...] = ()


_numbers = itertools.count()


def _sqlite(folder: Path) -> Make:
    return partial(SqliteStore, folder / f"{next(_numbers)}.db")


def _redis(_folder: Path) -> Make:
    return partial(RedisStore, empty_redis())


def _drop_link(store: Store) -> None:
    assert isinstance(store, RedisStore)
    link = store._pipeline._line.link
    if link is not None:
        link.drop()


BACKENDS: dict[str, Backend] = {
    "memory": Backend(lambda _folder: MemoryStore, shared=False, fake_clock=True),
    "sqlite": Backend(_sqlite),
    "redis": Backend(_redis, lose_replies=_drop_link, marks=(pytest.mark.system,)),
}


def _parameters(which: Callable[[Backend], bool]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "backend",
        [
            pytest.param(backend, id=name, marks=backend.marks)
            for name, backend in BACKENDS.items()
            if which(backend)
        ],
    )


every_store = _parameters(lambda backend: True)
shared_stores = _parameters(lambda backend: backend.shared)
by_fake_clock = _parameters(lambda backend: backend.fake_clock)
by_real_clock = _parameters(lambda backend: not backend.fake_clock)
