"""Credentials of a Trino request.

Who sends it is what the proof says (`Authorization`, a client certificate); whom it wants to be is
`X-Trino-User`. After SET SESSION AUTHORIZATION clients send the new name there and the old one in
`X-Trino-Original-User`; that one is a claim without proof, lends no authority and is not read: the
authenticated name itself must be allowed to act as the new one.
Source: Trino's client protocol, ProtocolHeaders and StatementClientV1 (trino-client 476).
"""

from __future__ import annotations

from gateway.identity.contract import Credentials
from gateway.identity.http import (
    CredentialsRefused,
    HeaderView,
    authorization,
    basic,
    bearer,
    checked_user,
    one,
)


def trino_credentials(
    headers: HeaderView, *, certificate: bytes | None = None, peer: str = ""
) -> Credentials:
    """What the request offers. `certificate` is the verified client certificate (DER) of its connection.

    An explicit proof beside a certificate counts alone: the certificate then only opened the connection.
    Raises CredentialsRefused (safe to show) for what cannot be read.
    """
    wanted = one(headers, "X-Trino-User")
    act_as = checked_user(wanted.strip()) if wanted is not None and wanted.strip() else None
    offered = authorization(headers)
    if offered is None:
        return Credentials(certificate=certificate, act_as=act_as, peer=peer)
    scheme, rest = offered
    if scheme == "bearer":
        return Credentials(token=bearer(rest), act_as=act_as, peer=peer)
    if scheme != "basic":
        raise CredentialsRefused("Authenticate with Basic or Bearer")
    user, password = basic(rest)
    if not user:
        raise CredentialsRefused("The Basic credentials have no user name")
    # As at Trino: without X-Trino-User the authenticated user is meant.
    return Credentials(user=user, password=password, act_as=None if act_as == user else act_as, peer=peer)
