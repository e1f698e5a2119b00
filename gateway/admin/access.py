"""Who may use the admin API: accounts on the Unix socket, named tokens over TCP."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import pwd
import socket
import struct
from collections.abc import Mapping

from aiohttp import web

from gateway.admin.contract import Actor, AdminError

MIN_TOKEN_CHARS = 24


class Tokens:
    """Named tokens, kept as digests and compared in constant time."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        for name, token in tokens.items():
            if len(token) < MIN_TOKEN_CHARS:
                raise ValueError(f"admin token {name!r}: use at least {MIN_TOKEN_CHARS} characters")
        self._digests = {name: _digest(token) for name, token in tokens.items()}

    def holder(self, token: str) -> str | None:
        """The name of the token; every known one is compared, whichever matches."""
        offered, found = _digest(token), None
        for name, digest in self._digests.items():
            if hmac.compare_digest(offered, digest):
                found = name
        return found


def token_actor(request: web.Request, tokens: Tokens, *, basic: bool) -> Actor:
    """Who holds the request's token. `basic`: a browser may send it as the password. Raises AdminError."""
    header = request.headers.get("Authorization", "")
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "basic" and not basic:
        raise AdminError(403, "bearer_only", "Send the token as `Authorization: Bearer …` here")
    token = value.strip() if scheme.lower() == "bearer" else _basic_password(value)
    name = tokens.holder(token) if token and len(request.headers.getall("Authorization")) == 1 else None
    if name is None:
        raise AdminError(401, "unauthorized", "Send a valid token as `Authorization: Bearer …`")
    return Actor(name, request.remote or "")


def socket_actor(request: web.Request) -> Actor:
    """The account at the other end: ours or root; the socket's mode should have kept others out already."""
    peer = request.get_extra_info("socket")
    if peer is None:
        raise AdminError(403, "no_peer", "The connection has no owner")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", credentials)
    if uid not in (0, os.geteuid()):
        raise AdminError(403, "other_account", "Only the gateway's own account and root may use this socket")
    return Actor(_account(uid), f"pid {pid}")


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _basic_password(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
