"""Reading `Authorization` and its like from a request: strict, bounded, without side effects."""

from __future__ import annotations

import base64
import binascii
from typing import Protocol

from gateway.identity.contract import AuthenticationFailed

MAX_AUTHORIZATION = 32 * 1024
MAX_USER = 256
MAX_PASSWORD = 1024
"""Longer ones are refused before they cost a hash."""


class HeaderView(Protocol):
    """What extraction needs of a request's headers; names compare case-insensitively."""

    def get(self, name: str) -> str | None: ...
    def get_all(self, name: str) -> list[str]: ...


class CredentialsRefused(AuthenticationFailed):
    """The request's credentials cannot be read, or there are several at once. Safe to show."""


def one(headers: HeaderView, name: str) -> str | None:
    """The header's value, or None. Raises CredentialsRefused where it is repeated."""
    values = headers.get_all(name)
    if len(values) > 1:
        raise CredentialsRefused(f"The header {name} is given {len(values)} times; send it once")
    return values[0] if values else None


def basic(value: str) -> tuple[str, str]:
    """(user, password) of the part after `Basic `. Raises CredentialsRefused."""
    try:
        text = base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise CredentialsRefused("The Basic credentials are not base64 of UTF-8 text") from None
    user, colon, password = text.partition(":")
    if not colon:
        raise CredentialsRefused("The Basic credentials have no colon between user and password")
    return checked_user(user), checked_password(password)


def authorization(headers: HeaderView) -> tuple[str, str] | None:
    """(scheme in lower case, rest) of the one Authorization header, or None. Raises CredentialsRefused."""
    value = one(headers, "Authorization")
    if value is None:
        return None
    if len(value) > MAX_AUTHORIZATION:
        raise CredentialsRefused(f"The Authorization header is longer than {MAX_AUTHORIZATION} bytes")
    scheme, _, rest = value.strip().partition(" ")
    return scheme.lower(), rest.strip()


def bearer(rest: str) -> str:
    """The token after `Bearer `. Raises CredentialsRefused."""
    if not rest or not rest.isascii() or any(c.isspace() for c in rest):
        raise CredentialsRefused("The bearer token is empty or not one word of ASCII")
    return rest


def checked_user(user: str) -> str:
    """The user name, unless it could not be one. Raises CredentialsRefused."""
    if len(user) > MAX_USER or not user.isprintable():
        raise CredentialsRefused(f"A user name has at most {MAX_USER} printable characters")
    return user


def checked_password(password: str) -> str:
    """The password, unless it is too long to be hashed. Raises CredentialsRefused."""
    if len(password) > MAX_PASSWORD:
        raise CredentialsRefused(f"A password has at most {MAX_PASSWORD} characters")
    return password
