"""The kinds of values in settings: durations, sizes, networks, paths, names, references to secrets."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

T = TypeVar("T")
MAX_SECRET_BYTES = 64 * 1024


class Section(BaseModel):
    """A part of the settings: immutable, closed (unknown keys are errors), no silent conversion of types."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        validate_default=False,
        ser_json_inf_nan="strings",
    )


def wrong(message: str, *at: str | int) -> PydanticCustomError:
    """An error in a section, at the field `at` within it. The text is shown as it is."""
    return PydanticCustomError("settings", "{text}", {"text": message, "at": at})


class Shorthand:
    """Says in the JSON Schema that a value may be given in a shorter form, too; a validator expands it."""

    def __init__(self, **schema: Any) -> None:
        self.schema = schema

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [self.schema, handler(core_schema)]}


Items = Annotated[tuple[T, ...], Field(strict=False)]
"""A list in the file, a tuple in the program."""


def _not_empty(items: tuple[T, ...]) -> tuple[T, ...]:
    if not items:
        raise wrong("expected at least one entry")
    return items


Some = Annotated[Items[T], AfterValidator(_not_empty)]
"""A list with at least one entry."""

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s?(ms|s|m|h|d)")
_UNITS_B = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s?(B|KiB|MiB|GiB|KB|MB|GB)")


def _seconds(value: object) -> float:
    if value == 0 and not isinstance(value, bool):
        return 0.0
    match = DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        found = "" if isinstance(value, dict | list) or value is None else f", found {str(value)[:40]!r}"
        raise wrong(f"expected a duration with its unit, such as 500ms, 30s, 5m, 12h or 7d{found}")
    return float(match[1]) * _UNITS_S[match[2]]


def _bytes(value: object) -> int:
    if value == 0 and not isinstance(value, bool):
        return 0
    match = SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        found = "" if isinstance(value, dict | list) or value is None else f", found {str(value)[:40]!r}"
        raise wrong(f"expected a size with its unit, such as 512KiB, 64MiB or 1GiB{found}")
    return int(float(match[1]) * _UNITS_B[match[2]])


def format_duration(seconds: float) -> str:
    """The shortest exact spelling: 90.0 is `90s`, 300.0 is `5m`."""
    for unit in ("d", "h", "m", "s"):
        count = seconds / _UNITS_S[unit]
        if seconds and count == int(count):
            return f"{int(count)}{unit}"
    return f"{round(seconds * 1000)}ms" if seconds else "0"


def format_size(size: int) -> str:
    """The shortest exact spelling: 67108864 is `64MiB`."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _UNITS_B[unit] == 0:
            return f"{size // _UNITS_B[unit]}{unit}"
    return f"{size}B" if size else "0"


Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": ["string", "integer"], "pattern": rf"^{DURATION.pattern}$", "title": "duration"}),
]
"""Seconds in the program; `500ms`, `30s`, `5m`, `12h`, `7d` (or 0) in the file."""

Size = Annotated[
    int,
    BeforeValidator(_bytes),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    WithJsonSchema({"type": ["string", "integer"], "pattern": rf"^{SIZE.pattern}$", "title": "size"}),
]
"""Bytes in the program; `512KiB`, `64MiB`, `1GiB` (or 0) in the file."""


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise wrong(f"expected an IP network such as 10.0.0.0/8 or ::1/128: {error}") from None


def _plain_host(text: str) -> str:
    if not text or len(text) > 255 or re.search(r"[\s/@:]", text.replace(":", "") if "::" in text else text):
        raise wrong("expected a host name or an IP address, without scheme and port")
    return text


def base_directory(info: ValidationInfo) -> Path:
    """Where relative paths start: the directory of the file that is being read."""
    return Path((info.context or {}).get("base", "."))


def _path(check: Callable[[Path], str | None]) -> BeforeValidator:
    def resolve(value: object, info: ValidationInfo) -> Path:
        if isinstance(value, Path):
            return value
        if not isinstance(value, str) or not value or "\0" in value:
            raise wrong("expected a path; a relative one starts at the directory of this file")
        path = base_directory(info) / Path(value).expanduser()
        if (complaint := check(path)) is not None:
            raise wrong(f"{complaint}: {path}")
        return path

    return BeforeValidator(resolve)


def _readable(path: Path) -> str | None:
    if not path.exists():
        return "there is no such file"
    if not path.is_file():
        return "this is not a file"
    return None if os.access(path, os.R_OK) else "the file cannot be read by this user"


def _directory(path: Path) -> str | None:
    if not path.exists():
        return "there is no such directory"
    return None if path.is_dir() else "this is not a directory"


_AS_TEXT = PlainSerializer(str, return_type=str, when_used="json")
_PATH_SCHEMA = WithJsonSchema({"type": "string", "format": "path"})

Network = Annotated[str, AfterValidator(_network), WithJsonSchema({"type": "string", "title": "network"})]
"""An IP network in CIDR form; host bits must be zero."""
Host = Annotated[str, AfterValidator(_plain_host)]
Port = Annotated[int, Field(ge=0, le=65535)]
"""0 takes a free port."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
"""A short name of a part: letters, digits, `_ . -`."""
NonEmpty = Annotated[str, Field(min_length=1, max_length=1024)]
ExistingFile = Annotated[Path, _path(_readable), _AS_TEXT, _PATH_SCHEMA]
ExistingDirectory = Annotated[Path, _path(_directory), _AS_TEXT, _PATH_SCHEMA]
LocalPath = Annotated[Path, _path(lambda _: None), _AS_TEXT, _PATH_SCHEMA]
"""A path that the gateway may create; relative ones start at the settings file's directory."""


def is_loopback(host: str) -> bool:
    """Whether traffic to this host cannot leave the machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def web_url(text: str) -> str:
    """An http or https URL that carries no credentials. Raises a settings error that does not show it."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - parses the port
    except ValueError:
        raise wrong("expected a URL such as https://host:port/path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise wrong("expected a URL that begins with http:// or https:// and names a host")
    if parts.username is not None or parts.password is not None:
        raise wrong("a URL holds no credentials here; give them by reference, {env: NAME} or {file: path}")
    return text


WebUrl = Annotated[str, AfterValidator(web_url)]


class SecretUnavailable(LookupError):
    """The place that a secret reference names holds nothing now; the text names the place."""


class SecretRef(Section):
    """Where a secret is kept: `{env: NAME}` or `{file: path}`. Holds no secret, so it may be shown.

    `reveal()` reads it anew each time, so a file that is replaced counts from the next reload on.
    """

    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")] | None = None
    """An environment variable of the gateway's process."""
    file: ExistingFile | None = None
    """A file with the secret; trailing line ends are not part of it."""

    @model_validator(mode="before")
    @classmethod
    def _only_by_reference(cls, value: Any) -> Any:
        if isinstance(value, dict | SecretRef):
            return value
        raise wrong("a secret is not written into settings; expected {env: NAME} or {file: path}")

    @model_validator(mode="after")
    def _names_one_place(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise wrong("expected exactly one of env and file")
        try:
            self.reveal()
        except SecretUnavailable as error:
            raise wrong(str(error)) from None
        return self

    def reveal(self) -> str:
        """The secret. Raises SecretUnavailable."""
        if self.env is not None:
            value = os.environ.get(self.env, "")
            if not value:
                raise SecretUnavailable(f"the environment variable {self.env} is not set (or empty)")
            return value
        assert self.file is not None
        return _secret_file(self.file)


def _secret_file(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_SECRET_BYTES + 1)
        value = raw.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SecretUnavailable(f"the secret file {path} cannot be read ({type(error).__name__})") from None
    if not value or len(raw) > MAX_SECRET_BYTES:
        size = "empty" if not value else f"larger than {MAX_SECRET_BYTES} bytes"
        raise SecretUnavailable(f"the secret file {path} is {size}")
    return value
