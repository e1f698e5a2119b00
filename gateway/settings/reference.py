"""The reference (docs/configuration.md) and the JSON Schema, from the models. Run it as a module to refresh both."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.settings.kinds import format_duration, format_size
from gateway.settings.model import Settings
from gateway.settings.people import ApiKeyFile, PasswordFile, UsersFile

BEGIN, END = "<!-- reference: begin -->", "<!-- reference: end -->"
_REF = "#/$defs/"
_EXPLAINED_ONCE = ("SecretRef", "Mode", "Wire", "EngineKind")
_FILES = (
    ("identity.users_file", UsersFile),
    ("identity.passwords.file", PasswordFile),
    ("identity.api_keys.file", ApiKeyFile),
)

Json = dict[str, Any]


def schema() -> Json:
    """The JSON Schema of `gateway.yaml`, with defaults as the file spells them."""
    made = _tidy(Settings.model_json_schema())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "gateway.yaml",
    }


def schema_text() -> str:
    """The schema as it is published."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def reference() -> str:
    """The reference in Markdown: every section and setting with type, default and meaning."""
    parts = [*_sections(schema(), "gateway.yaml", "")]
    for name, model in _FILES:
        parts += _sections(_tidy(model.model_json_schema()), f"The file of `{name}`", "")
    return "\n".join(parts).rstrip() + "\n"


def refreshed(page: str) -> str:
    """The page with its reference made anew. Raises ValueError where its markers are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"


def _tidy(value: Any) -> Any:
    """Without generated titles and whole-section defaults; durations and sizes spelled with their units."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    spell = {"duration": format_duration, "size": format_size}.get(str(_kind(value)))
    tidy = {
        key: _tidy(item)
        for key, item in value.items()
        if key != "title" or item in ("duration", "size", "network")
    }
    if spell is not None and isinstance(tidy.get("default"), int | float):
        tidy["default"] = spell(tidy["default"])
    if isinstance(tidy.get("default"), dict):
        del tidy["default"]
    return tidy


def _kind(value: Json) -> str | None:
    options = (
        [value, *value.get("anyOf", ())] if isinstance(value.get("anyOf", ()), list | tuple) else [value]
    )
    titles = [option.get("title") for option in options if isinstance(option, dict)]
    return next((t for t in titles if t in ("duration", "size")), None)


def _sections(root: Json, title: str, path: str) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield from _table(root, root, path)
    yield from _below(root, root, path)


def _below(root: Json, section: Json, path: str) -> Iterator[str]:
    for name, field in section.get("properties", {}).items():
        inner, suffix = _section_of(root, field)
        if inner is None:
            continue
        here = f"{path}{name}{suffix}"
        yield f"### `{here}`"
        yield ""
        yield inner.get("description", "").split("\n")[0]
        yield ""
        yield from _table(root, inner, f"{here}.")
        yield from _below(root, inner, f"{here}.")


def _section_of(root: Json, field: Json) -> tuple[Json | None, str]:
    """(the section inside a field, how its path goes on), or (None, "")."""
    if "anyOf" in field:
        found = (_section_of(root, option) for option in field["anyOf"])
        return next((pair for pair in found if pair[0] is not None), (None, ""))
    if "items" in field:
        inner, suffix = _section_of(root, field["items"])
        return inner, f"[]{suffix}"
    if "patternProperties" in field or isinstance(field.get("additionalProperties"), dict):
        values = [*field.get("patternProperties", {}).values(), field.get("additionalProperties")]
        inner, suffix = _section_of(root, next(value for value in values if isinstance(value, dict)))
        return inner, f".<name>{suffix}"
    name = field.get("$ref", "").removeprefix(_REF)
    if not name or name in _EXPLAINED_ONCE:
        return None, ""
    return root["$defs"][name], ""


def _table(root: Json, section: Json, path: str) -> Iterator[str]:
    yield "| setting | value | default | meaning |"
    yield "|---|---|---|---|"
    required = section.get("required", ())
    for name, field in section.get("properties", {}).items():
        default = "**required**" if name in required else _default(field)
        said = field.get("description") or (_section_of(root, field)[0] or {}).get("description", "")
        meaning = re.sub(r"\s+", " ", said).replace("|", "\\|")
        yield f"| `{path}{name}` | {_words(root, field)} | {default} | {meaning} |"
    yield ""


def _default(field: Json) -> str:
    if "default" not in field:
        return ""
    value = field["default"]
    if isinstance(value, list) and len(value) > 5:
        return f"{len(value)} entries"
    return (
        "null" if value is None else f"`{value if isinstance(value, str) and value else json.dumps(value)}`"
    )


def _words(root: Json, field: Json) -> str:
    if "anyOf" in field:
        return " or ".join(_words(root, option) for option in field["anyOf"])
    if "$ref" in field:
        name = field["$ref"].removeprefix(_REF)
        if name == "SecretRef":
            return "`{env: NAME}` or `{file: path}`"
        inner = root["$defs"][name]
        return _words(root, inner) if "enum" in inner else "section"
    if "const" in field or "enum" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if "items" in field:
        return f"list of {_words(root, field['items'])}"
    if field.get("title") in ("duration", "size", "network"):
        return str(field["title"])
    kind = field.get("type", "")
    if kind == "object":
        return "mapping"
    if kind == "string":
        return "path" if field.get("format") == "path" else "text"
    names = {"integer": "whole number", "number": "number", "boolean": "true, false", "null": "null"}
    return names.get(kind, str(kind)) + _range(field)


def _range(field: Json) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    return f" {low:g}–{high:g}" if low is not None and high is not None else ""


def main(directory: Path) -> None:
    """Refresh the page and the schema in `directory`."""
    page = directory / "configuration.md"
    page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")
    (directory / "gateway.schema.json").write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
