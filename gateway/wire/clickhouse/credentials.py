"""Which proof of identity a ClickHouse request offers. Exactly one: engines disagree on which of two wins."""

from __future__ import annotations

import base64
import binascii

from gateway.identity.contract import Credentials
from gateway.wire.clickhouse.errors import AUTHENTICATION_FAILED, WireError
from gateway.wire.clickhouse.request import ClickHouseRequest
from gateway.wire.http.message import Headers, Peer


def credentials_of(asked: ClickHouseRequest, headers: Headers, peer: Peer) -> Credentials:
    """Headers X-ClickHouse-User/-Key, Authorization (Basic or Bearer), URL, or the TLS client certificate.

    A certificate counts only if our own TLS layer saw it; no header can claim one. Raises WireError.
    """
    user, key = headers.get("X-ClickHouse-User"), headers.get("X-ClickHouse-Key")
    authorization = headers.get("Authorization")
    in_headers = user is not None or key is not None
    in_url = asked.user is not None or asked.password is not None
    if in_headers + in_url + (authorization is not None) > 1 or len(headers.get_all("Authorization")) > 1:
        raise _failed(
            "log-in data is given in more than one way; use only one of X-ClickHouse headers, "
            "Authorization header or URL"
        )
    if headers.get("X-ClickHouse-SSL-Certificate-Auth") is not None:
        if peer.client_cert_der is None or key is not None:
            raise _failed(
                "certificate log-in needs a TLS connection with a client certificate and no password"
            )
        return Credentials(user=user, certificate=peer.client_cert_der, peer=peer.host)
    if in_headers:
        return Credentials(user=_text(user), password=_text(key) or "", peer=peer.host)
    if in_url:
        return Credentials(user=asked.user, password=asked.password or "", peer=peer.host)
    if authorization is not None:
        return _authorization(authorization, peer)
    if peer.client_cert_der is not None:
        return Credentials(certificate=peer.client_cert_der, peer=peer.host)
    return Credentials(peer=peer.host)


def _authorization(value: str, peer: Peer) -> Credentials:
    scheme, _, proof = value.partition(" ")
    proof = proof.strip()
    if scheme.lower() == "bearer" and proof:
        return Credentials(token=proof, peer=peer.host)
    if scheme.lower() != "basic":
        raise _failed(f"the Authorization scheme '{scheme[:20]}' is not supported; use Basic or Bearer")
    try:
        user, colon, password = base64.b64decode(proof, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise _failed("the Basic Authorization header is malformed") from None
    if not colon:
        raise _failed("the Basic Authorization header is malformed")
    return Credentials(user=user, password=password, peer=peer.host)


def _text(value: str | None) -> str | None:
    return None if value is None else value.encode("latin-1").decode("utf-8", "replace")


def _failed(why: str) -> WireError:
    return WireError(AUTHENTICATION_FAILED, f"Authentication failed: {why}")
