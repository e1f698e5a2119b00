"""The files beside the settings that name people and programs: users, passwords, API keys."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.settings.kinds import Items, NonEmpty, Section, wrong

MAX_ARGON_MEMORY_KIB = 1024 * 1024
MAX_ARGON_PASSES = 20

_ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=([0-9]{1,8}),t=([0-9]{1,4}),p=([0-9]{1,3})\$[A-Za-z0-9+/]{11,88}\$[A-Za-z0-9+/]{22,172}"
)


def _argon2id(text: str) -> str:
    match = _ARGON2ID.fullmatch(text)
    if match is None:
        raise wrong("expected an argon2id hash, never a password; make one with `gateway users hash`")
    memory, passes, lanes = map(int, match.groups())
    if memory > MAX_ARGON_MEMORY_KIB or passes > MAX_ARGON_PASSES or not 1 <= lanes <= 16:
        raise wrong(f"costs too much to check: at most m={MAX_ARGON_MEMORY_KIB}, t={MAX_ARGON_PASSES}, p=16")
    if memory * passes < 15 * 1024:
        raise wrong("is too cheap to resist guessing: expected at least m=15360,t=1 (OWASP: m=19456,t=2)")
    return text


def _moment(value: Any) -> float:
    if isinstance(value, str):
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
    raise wrong("expected a date or a time such as 2027-01-31 or 2027-01-31T12:00:00+00:00 (UTC unless said)")


Moment = Annotated[float, BeforeValidator(_moment)]
"""Unix seconds; an ISO 8601 date or time in the file."""

AttributeText = Annotated[str, Field(max_length=4096)]


def _attribute(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise wrong("expected text or a list of text; quote numbers and dates")


Attribute = Annotated[str | tuple[str, ...], BeforeValidator(_attribute)]
PersonName = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Person(Section):
    """What is known of a name, however it logs in."""

    name: PersonName
    """The principal's name."""
    groups: Items[NonEmpty] = ()
    """Groups it is in, besides those its token names."""
    attributes: dict[NonEmpty, Attribute] = Field(default_factory=dict)
    """Attributes that policies may read; they win over those of a token."""
    disabled: bool = False
    """True refuses it, however it logs in."""


class PasswordUser(Person):
    """A user with a password."""

    password: Annotated[str, AfterValidator(_argon2id)]
    """An argon2id hash; `gateway users hash` makes one."""
    expires: Moment | None = None
    """The password is refused from this time on."""


class UsersFile(Section):
    """`identity.users_file`."""

    users: Items[Person]
    """The names."""


class PasswordFile(Section):
    """`identity.passwords.file`."""

    users: Items[PasswordUser]
    """The users."""


def _key_hash(text: str) -> str:
    if re.fullmatch(r"(sha256|hmac-sha256):[0-9a-f]{64}", text) is None:
        raise wrong("expected sha256:<64 hex digits>, or hmac-sha256:<64 hex digits> where a pepper is set")
    return text


class ApiKey(Section):
    """A key of a program."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{4,32}$")]
    """The public part of the key; it names the key in the audit."""
    hash: Annotated[str, AfterValidator(_key_hash)]
    """The hash of the secret part; `gateway users key` makes both."""
    user: PersonName
    """The principal that it acts for."""
    groups: Items[NonEmpty] = ()
    """Groups besides the user's own; not together with scopes."""
    scopes: Items[NonEmpty] = ()
    """Restricts the key to the groups of these scopes (`identity.api_keys.scopes`)."""
    expires: Moment | None = None
    """The key is refused from this time on."""
    disabled: bool = False
    """True refuses it."""


class ApiKeyFile(Section):
    """`identity.api_keys.file`."""

    keys: Items[ApiKey]
    """The keys."""


def base_of(path: Path) -> dict[str, Path]:
    """The validation context of a file: relative paths in it start at its own directory."""
    return {"base": path.parent}
