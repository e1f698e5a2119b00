"""pydantic's errors in words for the person who wrote the file. Only values that cannot be secret appear."""

from __future__ import annotations

import re
import types
import typing
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from gateway.settings.document import Document, Node, spell
from gateway.settings.kinds import DURATION, format_duration, format_size
from gateway.settings.problems import Problem, did_you_mean

_KINDS: dict[type, str] = {
    bool: "true or false", int: "a whole number", float: "a number", str: "text",
    list: "a list", dict: "a mapping", type(None): "nothing",
}  # fmt: skip

_WANTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text (quote it if it looks like a number)",
    "tuple_type": "a list (`- item` lines, or [a, b])",
    "list_type": "a list (`- item` lines, or [a, b])",
    "dict_type": "a mapping (key: value lines)",
    "model_type": "a mapping (key: value lines)",
    "model_attributes_type": "a mapping (key: value lines)",
}

_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("more than", "gt"),
    "less_than": ("less than", "lt"),
}


def problems_of(document: Document, model: type[BaseModel], errors: list[ErrorDetails]) -> list[Problem]:
    """One problem per error, at the place in the file that has to change."""
    root = document.root
    assert root is not None
    return [_problem(document.file, root, model, error) for error in errors]


def place(file: str, root: Node, location: tuple[int | str, ...], message: str) -> Problem:
    """A problem at the value that `location` names."""
    node = root.find(location)
    return Problem(file, node.line, node.column, spell(location), message)


def _problem(file: str, root: Node, model: type[BaseModel], error: ErrorDetails) -> Problem:
    location, kind, context = root.present(error["loc"]), error["type"], error.get("ctx", {})
    if kind == "settings":
        return place(file, root, location + tuple(context.get("at", ())), str(context["text"]))
    if location and location[-1] == "[key]":
        node = root.find(location[:-1], at_key=True)
        return Problem(file, node.line, node.column, spell(location[:-1]), f"as a key, {_say(error)}")
    if kind == "extra_forbidden":
        node = root.find(location, at_key=True)
        known = sorted(known_keys(model, location[:-1]))
        hint = did_you_mean(str(location[-1]), known) or f" (known here: {', '.join(known)})"
        return Problem(file, node.line, node.column, spell(location), f"unknown key{hint}")
    return place(file, root, location, _say(error))


def _say(error: ErrorDetails) -> str:
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    if kind == "missing":
        return "is missing"
    if kind in _WANTED:
        return f"expected {_WANTED[kind]}, found {_KINDS.get(type(value), 'something else')}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"expected {words} {_in_units_of(value, context[key])}, found {_shown(value)}"
    if kind in ("literal_error", "enum"):
        known = [a or b for a, b in re.findall(r"'([^']*)'|([0-9]+)", str(context["expected"]))]
        hint = did_you_mean(value, known) if isinstance(value, str) else ""
        choices = f"{', '.join(known[:-1])} or {known[-1]}" if known[:-1] else known[-1]
        return f"expected {choices}, found {_shown(value)}{hint}"
    if kind == "string_pattern_mismatch":
        return f"does not look right; expected text that matches {context['pattern']}"
    if kind == "too_short":
        return f"expected at least {context['min_length']} entries, found {context['actual_length']}"
    message = error["msg"]
    return message[:1].lower() + message[1:]


def _shown(value: Any) -> str:
    """For numbers and words of a fixed set only; a value of any other kind may be a secret."""
    if isinstance(value, str):
        return f"'{value[:40]}'"
    return f"{value}" if isinstance(value, int | float) else _KINDS.get(type(value), "something else")


def _in_units_of(value: Any, bound: float) -> str:
    if isinstance(value, str) and DURATION.fullmatch(value):
        return format_duration(bound)
    return format_size(int(bound)) if isinstance(value, str) else f"{bound:g}"


def known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> frozenset[str]:
    """The keys that the section at `location` knows."""
    annotation: Any = model
    for part in location:
        annotation = _inside(annotation, part)
    section = _section(annotation)
    return frozenset(section.model_fields) if section else frozenset()


def _inside(annotation: Any, part: int | str) -> Any:
    section = _section(annotation)
    if section is not None:
        found = section.model_fields.get(str(part))
        return found.annotation if found is not None else None
    arguments = typing.get_args(_bare(annotation))
    return arguments[0 if isinstance(part, int) else -1] if arguments else None


def _bare(annotation: Any) -> Any:
    """Without Annotated and `| None`."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _bare(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        options = [a for a in typing.get_args(annotation) if a is not type(None)]
        return _bare(options[0]) if len(options) == 1 else annotation
    return annotation


def _section(annotation: Any) -> type[BaseModel] | None:
    bare = _bare(annotation)
    return bare if isinstance(bare, type) and issubclass(bare, BaseModel) else None
