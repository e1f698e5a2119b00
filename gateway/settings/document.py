"""YAML text to plain data that remembers where each piece stood. Bounded before anything is built.

Built from the parser's events rather than by a constructor, so that one pass over hostile text can refuse
depth, size and alias bombs, and so that duplicate keys are all reported instead of the first one only.
Scalars follow the YAML 1.2 core schema: `off` and `no` are text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
)

from gateway.settings.problems import Problem, SettingsError

MAX_BYTES = 1024 * 1024
MAX_LINE = 16 * 1024
"""Bytes in a line: the scanner's time grows with the square of some tokens' length."""
MAX_DEPTH = 32
MAX_NODES = 50_000
"""Pieces of a document after aliases are expanded."""

Location = Sequence[int | str]


def spell(location: Location) -> str:
    """`backends[0].url`."""
    words = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return words.removeprefix(".")


_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(slots=True)
class Node:
    """A piece of the document: its plain value and where it begins (from 1)."""

    line: int
    column: int
    data: Any = None
    keys: dict[str, Node] = field(default_factory=dict)
    children: dict[str | int, Node] = field(default_factory=dict)
    weight: int = 1

    def find(self, location: Location, *, at_key: bool = False) -> Node:
        """The deepest node along `location`; parts that the document does not have are passed over."""
        node, key = self, None
        for part in location:
            if (child := node.children.get(part)) is not None:
                node, key = child, node.keys.get(str(part))
        return key if at_key and key is not None else node

    def present(self, location: Location) -> tuple[int | str, ...]:
        """The location without parts before its last that are not in the document (names of union members)."""
        kept: list[int | str] = []
        node = self
        for index, part in enumerate(location):
            child = node.children.get(part)
            if child is not None or index == len(location) - 1:
                kept.append(part)
            node = child or node
        return tuple(kept)


@dataclass(slots=True)
class Document:
    """One file: its tree, and what is wrong with its YAML. `root` is None where it could not be read."""

    file: str
    root: Node | None
    problems: list[Problem]


class _Unreadable(Exception):
    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.place = (line, column)


def read_document(path: Path) -> Document:
    """Read and parse a file; never raises for what is in it."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        return _broken(str(path), _Unreadable(f"cannot be read: {error.strerror or type(error).__name__}"))
    return parse_document(raw, str(path))


def parse_document(raw: bytes, file: str) -> Document:
    """Parse YAML bytes; never raises for what is in them."""
    try:
        if len(raw) > MAX_BYTES:
            raise _Unreadable(f"the file is larger than {MAX_BYTES // 1024} KiB")
        for number, line in enumerate(raw.split(b"\n"), 1):
            if len(line) > MAX_LINE:
                raise _Unreadable(f"a line is longer than {MAX_LINE // 1024} KiB", number)
        return _build(_decode(raw), file)
    except _Unreadable as error:
        return _broken(file, error)


def must_read(path: Path) -> Node:
    """The tree of a file that must be sound. Raises SettingsError."""
    document = read_document(path)
    if document.root is None or document.problems:
        raise SettingsError(document.problems)
    return document.root


def _broken(file: str, error: _Unreadable) -> Document:
    return Document(file, None, [Problem(file, *error.place, "", str(error))])


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise _Unreadable("is not UTF-8 text", line, column) from None


def _build(text: str, file: str) -> Document:
    builder = _Builder(file)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        raise _Unreadable(f"is not valid YAML: {error.problem or error.context}", *place) from None
    except YAMLError as error:  # the reader: characters that YAML does not allow
        position = min(getattr(error, "position", 0), len(text))
        line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
        reason = getattr(error, "reason", "unreadable")
        raise _Unreadable(f"is not valid YAML: {reason}", line, column) from None
    except (ValueError, IndexError, KeyError, AttributeError) as error:
        # ruamel lets a few malformed escapes and directives out as plain Python errors.
        line = builder.last_line
        raise _Unreadable(f"is not valid YAML after this line ({type(error).__name__})", line) from None
    root = builder.root
    if root is None:
        raise _Unreadable("is empty; expected settings, see gateway.example.yaml")
    return Document(file, root, builder.problems)


class _Builder:
    """Turns events into nodes with an explicit stack: no recursion for hostile nesting to exhaust."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self.last_line = 1
        self._stack: list[tuple[Node, str | None]] = []
        self._keys: list[Node | None] = []
        self._anchors: dict[str, Node | None] = {}
        self._nodes = 0

    def take(self, event: Any) -> None:
        self.last_line = event.start_mark.line + 1
        if isinstance(event, DocumentStartEvent) and self.root is not None:
            raise _Unreadable("a second YAML document begins here; expected one", self.last_line)
        if isinstance(event, MappingEndEvent | SequenceEndEvent):
            self._close()
        elif isinstance(event, NodeEvent):
            self._open(event, Node(event.start_mark.line + 1, event.start_mark.column + 1))

    def _open(self, event: NodeEvent, node: Node) -> None:
        self._count(node, 1)
        if (tag := getattr(event, "tag", None)) is not None:
            self._complain(node, f"the tag {str(tag)[:60]!r} is not allowed; write the plain value")
        if isinstance(event, AliasEvent):
            return self._add(self._alias(str(event.anchor), node))
        if isinstance(event, ScalarEvent):
            plain = event.style is None and event.implicit[0]
            node.data = _scalar(event.value) if plain else event.value
            if event.anchor:
                self._anchors[event.anchor] = node
            return self._add(node)
        if len(self._stack) >= MAX_DEPTH:
            raise _Unreadable(f"is nested deeper than {MAX_DEPTH} levels", node.line, node.column)
        node.data = {} if isinstance(event, MappingStartEvent) else []
        if event.anchor:
            self._anchors[event.anchor] = None
        self._stack.append((node, event.anchor))
        self._keys.append(None)
        return None

    def _close(self) -> None:
        node, anchor = self._stack.pop()
        self._keys.pop()
        if anchor:
            self._anchors[anchor] = node
        self._add(node)

    def _alias(self, name: str, at: Node) -> Node:
        target = self._anchors.get(name)
        if target is None:
            why = "is inside what it names" if name in self._anchors else "names nothing above it"
            raise _Unreadable(f"the alias *{name[:60]} {why}", at.line, at.column)
        self._count(at, target.weight)
        return target

    def _count(self, node: Node, weight: int) -> None:
        self._nodes += weight
        if self._nodes > MAX_NODES:
            raise _Unreadable(f"has more than {MAX_NODES} values (aliases counted)", node.line, node.column)

    def _add(self, node: Node) -> None:
        if not self._stack:
            self.root = node
            return
        parent, _ = self._stack[-1]
        parent.weight += node.weight
        if isinstance(parent.data, list):
            parent.children[len(parent.data)] = node
            parent.data.append(node.data)
        elif self._keys[-1] is None:
            self._keys[-1] = node
        else:
            key, self._keys[-1] = self._keys[-1], None
            self._enter(parent, key, node)

    def _enter(self, parent: Node, key: Node, value: Node) -> None:
        name = key.data
        if not isinstance(name, str):
            shown = "a list or mapping" if isinstance(name, list | dict) else f"{name!r}, which is not text"
            return self._complain(key, f"this key is {shown}; quote it")
        if name in parent.data:
            first = parent.keys[name].line
            return self._complain(key, f"the key {name[:60]!r} is given twice; the first is on line {first}")
        parent.data[name] = value.data
        parent.keys[name], parent.children[name] = key, value
        return None

    def _complain(self, node: Node, message: str) -> None:
        if len(self.problems) < 100:
            self.problems.append(Problem(self.file, node.line, node.column, "", message))


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
