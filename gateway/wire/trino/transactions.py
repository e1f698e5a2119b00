"""Transaction ids that say which backend they belong to.

A Trino transaction lives in one coordinator and its id has no hint of it, so the id that a client gets is
`{id}.{backend}.{mac}`. The mac (keyed, one key for all processes) keeps clients from sending statements to
a backend of their choice; nothing is remembered, so any process and any restart can serve the transaction.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass

# `TransactionId` is a UUID; other engines behind this wire may use any token of this form.
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


class UnknownTransaction(ValueError):
    """Not a transaction id that this gateway gave out."""


@dataclass(frozen=True, slots=True)
class TransactionIds:
    """Wraps and unwraps; `key` must be the same in every process that serves the same clients."""

    key: bytes

    def wrap(self, transaction: str, backend: str) -> str:
        """The id for the client. Raises UnknownTransaction for an id of an unexpected form."""
        if _ID.fullmatch(transaction) is None:
            raise UnknownTransaction("the backend gave out a transaction id of an unexpected form")
        place = base64.urlsafe_b64encode(backend.encode()).decode().rstrip("=")
        return f"{transaction}.{place}.{self._mac(transaction, place)}"

    def unwrap(self, wrapped: str) -> tuple[str, str]:
        """(the engine's id, the backend's name). Raises UnknownTransaction."""
        parts = wrapped.split(".")
        if len(parts) != 3 or not wrapped.isascii() or _ID.fullmatch(parts[0]) is None:
            raise UnknownTransaction("not a transaction id of this gateway")
        transaction, place, mac = parts
        if not hmac.compare_digest(mac, self._mac(transaction, place)):
            raise UnknownTransaction("not a transaction id of this gateway")
        try:
            backend = base64.urlsafe_b64decode(place + "=" * (-len(place) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise UnknownTransaction("not a transaction id of this gateway") from None
        return transaction, backend

    def _mac(self, transaction: str, place: str) -> str:
        digest = hashlib.blake2b(
            f"{transaction}.{place}".encode(), key=self.key[:64], digest_size=15, person=b"trino-tx"
        )
        return base64.urlsafe_b64encode(digest.digest()).decode()
