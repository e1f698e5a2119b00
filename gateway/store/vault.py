"""The only place where statement texts with literals are kept: encrypted, for a time, read under audit."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.dialects import postgresql, sqlite

from gateway.store.audit_records import AuditRecord, StatementRead
from gateway.store.database import Database
from gateway.store.records import MICROSECONDS
from gateway.store.tables import statements

log = logging.getLogger(__name__)

KEY_BYTES = 32
NONCE_BYTES = 12


class TextPart(StrEnum):
    """Which text of a query: the client's, the one the engine got, or the engine's error message."""

    ORIGINAL = "original"
    EMITTED = "emitted"
    ERROR = "error"


@dataclass(frozen=True, slots=True, repr=False)
class StatementText:
    """A text on its way into the vault. `repr` does not show it."""

    query_id: str
    part: TextPart
    text: str
    time: float

    def __repr__(self) -> str:
        return f"StatementText({self.query_id!r}, {self.part.value}, {len(self.text)} characters)"


class TextUnreadable(Exception):
    """The text is there but none of the keys opens it, or it was changed."""


class Auditor(Protocol):
    """The two calls of `AuditLog` that reading needs."""

    def append(self, record: AuditRecord) -> None: ...
    async def commit(self) -> None: ...


class Vault:
    """AES-256-GCM with the query's id and part bound in, so that a text cannot be moved to another query.

    The first key encrypts; the others still open what was written before a rotation. Without keys nothing
    is stored, which is said once.
    """

    def __init__(self, database: Database, keys: Sequence[bytes] = ()) -> None:
        for key in keys:
            if len(key) != KEY_BYTES:
                raise ValueError(f"store.encryption_key: expected {KEY_BYTES} bytes, got {len(key)}")
        self._database = database
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._first = _key_id(keys[0]) if keys else None
        if self._first is None:
            log.warning("store.encryption_key is not set: statement texts are not kept")

    @property
    def enabled(self) -> bool:
        return self._first is not None

    def seal(self, texts: Iterable[StatementText]) -> list[dict[str, Any]]:
        """Rows for the `statements` table; none without a key."""
        if self._first is None:
            return []
        return [self._seal(self._first, text) for text in texts]

    def _seal(self, key_id: str, text: StatementText) -> dict[str, Any]:
        nonce = os.urandom(NONCE_BYTES)
        data = text.text.encode("utf-8", "surrogatepass")
        sealed = self._ciphers[key_id].encrypt(nonce, data, _bound(text.query_id, text.part))
        return {
            "query_id": text.query_id,
            "part": text.part.value,
            "time_us": int(text.time * MICROSECONDS),
            "key_id": key_id,
            "nonce": nonce,
            "ciphertext": sealed,
        }

    async def save(self, texts: Iterable[StatementText]) -> None:
        """Store texts; the first text of a query and part stays."""
        if not (rows := self.seal(texts)):
            return
        insert = sqlite.insert(statements) if self._database.is_sqlite else postgresql.insert(statements)
        async with self._database.write() as connection:
            await connection.execute(insert.on_conflict_do_nothing(), rows)

    async def read(self, query_id: str, *, actor: str, purpose: str, audit: Auditor) -> dict[TextPart, str]:
        """The texts kept of a query, after the audit knows who reads them; empty if there are none.

        Raises AuditUnavailable (nothing is read then) and TextUnreadable.
        """
        audit.append(StatementRead(time=time.time(), actor=actor, query_id=query_id, purpose=purpose))
        await audit.commit()
        select = sa.select(statements).where(statements.c.query_id == query_id)
        async with self._database.read() as connection:
            rows = (await connection.execute(select)).mappings().all()
        return {TextPart(row["part"]): self._open(dict(row)) for row in rows}

    def _open(self, row: dict[str, Any]) -> str:
        cipher = self._ciphers.get(row["key_id"])
        if cipher is None:
            raise TextUnreadable(
                f"the text of query {row['query_id']} was encrypted with key {row['key_id']}, which is not "
                "among store.encryption_key and store.old_encryption_keys"
            )
        try:
            data = cipher.decrypt(row["nonce"], row["ciphertext"], _bound(row["query_id"], row["part"]))
        except InvalidTag:
            raise TextUnreadable(f"the stored text of query {row['query_id']} was changed") from None
        return data.decode("utf-8", "surrogatepass")


def _key_id(key: bytes) -> str:
    return hashlib.blake2b(key, digest_size=8, person=b"gw-vault-keyid").hexdigest()


def _bound(query_id: str, part: str) -> bytes:
    return f"{query_id}\0{part}".encode()
