"""Credentials of a ClickHouse HTTP request: headers, Basic or Bearer, or the URL; never two of them.

As at ClickHouse, mixing is refused (code 516), and a request that names nobody is the user `default` without
a password, which here means anonymous. Source: HTTPHandler authentication in ClickHouse 26.7.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.identity.contract import Credentials
from gateway.identity.http import (
    CredentialsRefused,
    HeaderView,
    authorization,
    basic,
    bearer,
    checked_password,
    checked_user,
    one,
)

MIXED = "Invalid authentication: use one of X-ClickHouse headers, the Authorization header and URL parameters"
CREDENTIAL_HEADERS = frozenset(
    {
        "authorization",
        "x-clickhouse-user",
        "x-clickhouse-key",
        "x-clickhouse-quota",
        "x-clickhouse-ssl-certificate-auth",
        "x-clickhouse-jwt-token",
    }
)
"""Headers (lower case) that stop here and never reach an engine."""
CREDENTIAL_PARAMETERS = frozenset({"user", "password", "quota_key"})
"""URL parameters that stop here."""


def clickhouse_credentials(
    headers: HeaderView,
    parameters: Sequence[tuple[str, str]],
    *,
    certificate: bytes | None = None,
    peer: str = "",
) -> Credentials:
    """What the request offers. `parameters` are the decoded URL parameters, repeats kept.

    Raises CredentialsRefused for what cannot be read and for several proofs at once.
    """
    header_user, header_key = _utf8(headers, "X-ClickHouse-User"), _utf8(headers, "X-ClickHouse-Key")
    url_user, url_password = _parameter(parameters, "user"), _parameter(parameters, "password")
    offered = authorization(headers)
    by_certificate = (one(headers, "X-ClickHouse-SSL-Certificate-Auth") or "").strip().lower() == "on"
    in_headers = header_user is not None or header_key is not None
    in_url = url_user is not None or url_password is not None
    if (offered is not None) + in_headers + in_url > 1:
        raise CredentialsRefused(MIXED)
    if by_certificate:
        if offered is not None or in_url or header_key is not None:
            raise CredentialsRefused(MIXED)
        if certificate is None:
            raise CredentialsRefused("No client certificate was presented on this connection")
        return Credentials(certificate=certificate, act_as=_named(header_user), peer=peer)
    if offered is not None:
        scheme, rest = offered
        if scheme == "bearer":
            return Credentials(token=bearer(rest), peer=peer)
        if scheme != "basic":
            raise CredentialsRefused(
                "Authenticate with Basic, Bearer, X-ClickHouse headers or URL parameters"
            )
        return _by_password(*basic(rest), certificate, peer)
    user, password = (header_user, header_key) if in_headers else (url_user, url_password)
    return _by_password(user or "", password or "", certificate, peer)


def _utf8(headers: HeaderView, name: str) -> str | None:
    """ClickHouse compares the bytes of these headers with UTF-8 names; carriers hand them on as latin-1."""
    value = one(headers, name)
    if value is None or value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        raise CredentialsRefused(f"The header {name} is not UTF-8") from None


def _by_password(user: str, password: str, certificate: bytes | None, peer: str) -> Credentials:
    """Without a password a name is only a claim, as `X-Trino-User` alone is: no proof to check or to guess."""
    name = _named(user)
    if not password:
        return Credentials(certificate=certificate, act_as=name, peer=peer)
    return Credentials(user=name or "default", password=checked_password(password), peer=peer)


def _named(user: str | None) -> str | None:
    """The user that a request names; `default` is ClickHouse's word for nobody in particular."""
    return None if user is None or user in ("", "default") else checked_user(user)


def _parameter(parameters: Sequence[tuple[str, str]], name: str) -> str | None:
    values = [value for key, value in parameters if key == name]
    if len(values) > 1:
        raise CredentialsRefused(f"The URL parameter {name} is given {len(values)} times; send it once")
    return values[0] if values else None
