"""What values weigh in memory, in bytes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from headwater.stores.base import Record

# A log, its record and its places in dictionaries, besides strings and entries; measured with
# tracemalloc, rounded up.
_LOG_BYTES: Final = 700
# A label's own entry among all labels.
_LABEL_BYTES: Final = 400


def weight(value: object) -> int:
    """What a value weighs: a string, or a tuple or mapping of such. Numbers weigh nothing."""
    if isinstance(value, (str, bytes)):
        return sys.getsizeof(value)
    if isinstance(value, tuple):
        return sys.getsizeof(value) + sum(weight(each) for each in value)
    if isinstance(value, Mapping):
        return sys.getsizeof(value) + sum(weight(k) + weight(v) for k, v in value.items())
    return 0


def weight_of_log(record: Record, plan: bytes | None) -> int:
    """What a log weighs before its first entry: every string of its record, and its plan."""
    strings = (record.stream, record.principal, record.model, record.route, record.label)
    rest = (record.spoken, record.metadata, record.node, plan)
    labelled = 0 if record.label is None else _LABEL_BYTES
    return _LOG_BYTES + labelled + sum(weight(each) for each in (*strings, *rest))
