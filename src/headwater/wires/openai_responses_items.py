"""The output items of a response in OpenAI's Responses, and the events that make them.

Source: the API reference's "Streaming events" page. Messages and reasoning come one after another;
calls stay open beside them until they end, for each has its own index.
"""

from __future__ import annotations

from typing import Any

from headwater.wires.base import JSON, dump

#: An event: its type, and its members without type and number.
Pieces = list[tuple[str, JSON]]


class Items:
    """Items of one stream, named after it; their indexes depend on what went before."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._items: list[JSON] = []
        self._current: int | None = None  # of the message or the reasoning that is open
        self._calls: dict[str, int] = {}  # of the calls that are open
        #: Of the text that is open; whoever says more of it at its place adds to them.
        self.pieces: list[str] = []
        self._measured = (0, 0)  # how many of the pieces have been counted, and their length
        self._arguments: dict[str, list[str]] = {}
        #: Where a piece of text goes, as JSON without its brackets; empty unless text is open.
        self.text_place = b""

    @property
    def done(self) -> list[JSON]:
        """The items, in order."""
        return self._items

    # messages

    def say(self, kind: str, piece: str) -> Pieces:
        """A piece of text or of a refusal."""
        said = self._enter_part(kind)
        self.pieces.append(piece)
        delta: JSON = {**self._place("content_index"), "delta": piece}
        if kind == "output_text":
            delta["logprobs"] = []
        return [*said, (f"response.{kind}.delta", delta)]

    def cite(self, url: str, title: str | None) -> Pieces:
        """A page that the text up to here rests on."""
        said = self._enter_part("output_text")
        part = self._item["content"][-1]
        here = self._length()
        annotation = {
            "type": "url_citation",
            "start_index": here,
            "end_index": here,
            "url": url,
            "title": title or url,
        }
        place = {
            **self._place("content_index"),
            "annotation_index": len(part["annotations"]),
            "annotation": annotation,
        }
        part["annotations"].append(annotation)
        return [*said, ("response.output_text.annotation.added", place)]

    def _length(self) -> int:
        """Characters of the open text: counts what has come since it was asked for last."""
        count, length = self._measured
        length += sum(map(len, self.pieces[count:]))
        self._measured = (len(self.pieces), length)
        return length

    def _take_pieces(self) -> str:
        """The open text, which ends."""
        text, self.pieces, self._measured = "".join(self.pieces), [], (0, 0)
        return text

    def _enter_part(self, kind: str) -> Pieces:
        said: Pieces = []
        if self._current is None or self._item["type"] != "message":
            message = {"type": "message", "role": "assistant", "content": []}
            said = [*self._close(), *self._begin("msg", message)]
        parts = self._item["content"]
        if parts and parts[-1]["type"] == kind:
            return said
        said += self._close_part()
        parts.append(_empty_part(kind))
        place = self._place("content_index")
        if kind == "output_text":
            self.text_place = dump(place)[1:-1]
        added = {**place, "part": _copied(parts[-1])}
        return [*said, ("response.content_part.added", added)]

    def _close_part(self) -> Pieces:
        parts = self._item["content"]
        if not parts:
            return []
        self.text_place = b""
        part, place = parts[-1], self._place("content_index")
        member = "text" if part["type"] == "output_text" else "refusal"
        part[member] = self._take_pieces()
        whole: JSON = {**place, member: part[member]}
        if member == "text":
            whole["logprobs"] = []
        return [
            (f"response.{part['type']}.done", whole),
            ("response.content_part.done", {**place, "part": part}),
        ]

    # reasoning

    def think(self, piece: str) -> Pieces:
        """A piece of what the model thought, as a summary: only that is shown to readers."""
        said: Pieces = []
        if self._current is None or self._item["type"] != "reasoning":
            said = [*self._close(), *self._begin("rs", {"type": "reasoning", "summary": []})]
            part = {"type": "summary_text", "text": ""}
            self._item["summary"].append(part)
            place = {**self._place("summary_index"), "part": dict(part)}
            said.append(("response.reasoning_summary_part.added", place))
        self.pieces.append(piece)
        delta = {**self._place("summary_index"), "delta": piece}
        return [*said, ("response.reasoning_summary_text.delta", delta)]

    def keep_reasoning(self, value: Any) -> Pieces:
        """Reasoning that only the provider can read: an item of its own, under the provider's id.

        SDKs take an item for broken whose id changes, and the provider wants its own id back.
        """
        given = value if isinstance(value, dict) else {"encrypted_content": value}
        said = [*self._close(), *self._begin("rs", {"type": "reasoning", "summary": []}, given)]
        return [*said, *self._close()]

    def _close_summary(self) -> Pieces:
        if not self._item["summary"]:
            return []
        part, place = self._item["summary"][-1], self._place("summary_index")
        part["text"] = self._take_pieces()
        return [
            ("response.reasoning_summary_text.done", {**place, "text": part["text"]}),
            ("response.reasoning_summary_part.done", {**place, "part": part}),
        ]

    # calls

    def begin_call(self, call: str, name: str) -> Pieces:
        """A call; text that was open is over."""
        said = [*self.end_call(call), *self._close()]
        item = {"type": "function_call", "call_id": call, "name": name, "arguments": ""}
        index = len(self._items)
        said += self._begin("fc", item)
        self._current = None
        self._calls[call] = index
        self._arguments[call] = []
        return said

    def argue(self, call: str, piece: str) -> Pieces:
        """A fragment of a call's arguments; of a call that is not open it says nothing."""
        index = self._calls.get(call)
        if index is None:
            return []
        self._arguments[call].append(piece)
        place = {"item_id": self._items[index]["id"], "output_index": index, "delta": piece}
        return [("response.function_call_arguments.delta", place)]

    def end_call(self, call: str) -> Pieces:
        """The arguments of the call are whole."""
        index = self._calls.pop(call, None)
        if index is None:
            return []
        item = self._items[index]
        item["arguments"] = "".join(self._arguments.pop(call))
        whole = {
            "item_id": item["id"],
            "output_index": index,
            "name": item["name"],
            "arguments": item["arguments"],
        }
        return [("response.function_call_arguments.done", whole), *self._finish(index)]

    # items

    def close_all(self, status: str = "completed") -> Pieces:
        """Close what is open; `status` is that of what an error has cut."""
        said = self._close(status)
        for call in list(self._calls):
            said += self.end_call(call)
        return said

    @property
    def _item(self) -> JSON:
        assert self._current is not None  # noqa: S101 - asked for only while one is open
        return self._items[self._current]

    def _place(self, part: str) -> JSON:
        item = self._item
        parts = item["content" if part == "content_index" else "summary"]
        return {"item_id": item["id"], "output_index": self._current, part: len(parts) - 1}

    def _begin(self, prefix: str, members: JSON, given: JSON | None = None) -> Pieces:
        self._current = len(self._items)
        item = {"id": f"{prefix}_{self._stream}_{self._current}", **members}
        for name in ("id", "encrypted_content"):
            if given and given.get(name) is not None:
                item[name] = given[name]
        self._items.append(item)
        item["status"] = "in_progress"
        place = {"output_index": self._current, "item": _copied(item)}
        return [("response.output_item.added", place)]

    def _close(self, status: str = "completed") -> Pieces:
        if self._current is None:
            return []
        kind = self._item["type"]
        said = self._close_part() if kind == "message" else self._close_summary()
        index, self._current = self._current, None
        return [*said, *self._finish(index, status)]

    def _finish(self, index: int, status: str = "completed") -> Pieces:
        self._items[index]["status"] = status
        place = {"output_index": index, "item": self._items[index]}
        return [("response.output_item.done", place)]


def _empty_part(kind: str) -> JSON:
    if kind == "refusal":
        return {"type": kind, "refusal": ""}
    return {"type": kind, "text": "", "annotations": []}


def _copied(item: JSON) -> JSON:
    """As it is now; lists of it go on growing."""
    return {name: list(value) if isinstance(value, list) else value for name, value in item.items()}
