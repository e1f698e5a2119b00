from __future__ import annotations

import logging

import pytest
import sqlalchemy as sa

from gateway.store.audit import AuditUnavailable
from gateway.store.audit_records import AuditRecord, StatementRead
from gateway.store.store import Store
from gateway.store.tables import statements
from gateway.store.vault import StatementText, TextPart, TextUnreadable, Vault

KEY, OLD = b"k" * 32, b"o" * 32
SECRET = "SELECT * FROM t WHERE ssn = '078-05-1120'"


class Audit:
    def __init__(self, down: bool = False) -> None:
        self.records: list[AuditRecord] = []
        self.down = down

    def append(self, record: AuditRecord) -> None:
        self.records.append(record)

    async def commit(self) -> None:
        if self.down:
            raise AuditUnavailable("down")


def text(query_id: str = "q1", part: TextPart = TextPart.ORIGINAL) -> StatementText:
    return StatementText(query_id, part, SECRET, 1000.0)


async def test_a_text_is_encrypted_at_rest_and_read_under_audit(store: Store) -> None:
    vault, audit = Vault(store.database, [KEY]), Audit()
    await vault.save([text(), text(part=TextPart.EMITTED)])
    async with store.database.read() as connection:
        rows = (await connection.execute(sa.select(statements))).mappings().all()
    assert all(
        b"078-05-1120" not in bytes(value) for row in rows for value in (row["ciphertext"], row["nonce"])
    )
    assert len({row["nonce"] for row in rows}) == 2
    found = await vault.read("q1", actor="root", purpose="ticket 7", audit=audit)
    assert found == {TextPart.ORIGINAL: SECRET, TextPart.EMITTED: SECRET}
    read = audit.records[0]
    assert isinstance(read, StatementRead)
    assert (read.actor, read.query_id, read.purpose) == ("root", "q1", "ticket 7")


async def test_nothing_is_read_when_the_audit_cannot_know(store: Store) -> None:
    vault = Vault(store.database, [KEY])
    await vault.save([text()])
    with pytest.raises(AuditUnavailable):
        await vault.read("q1", actor="root", purpose="", audit=Audit(down=True))


async def test_a_key_can_be_rotated(store: Store) -> None:
    await Vault(store.database, [OLD]).save([text("q1")])
    rotated = Vault(store.database, [KEY, OLD])
    await rotated.save([text("q2")])
    assert await rotated.read("q1", actor="a", purpose="", audit=Audit())
    with pytest.raises(TextUnreadable, match="old_encryption_keys"):
        await Vault(store.database, [OLD]).read("q2", actor="a", purpose="", audit=Audit())


async def test_a_text_moved_to_another_query_does_not_open(store: Store) -> None:
    vault = Vault(store.database, [KEY])
    await vault.save([text("q1")])
    async with store.database.write() as connection:
        await connection.execute(sa.update(statements).values(query_id="q2"))
    with pytest.raises(TextUnreadable, match="was changed"):
        await vault.read("q2", actor="a", purpose="", audit=Audit())


async def test_without_a_key_nothing_is_kept_and_that_is_said_once(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        vault = Vault(store.database)
        await vault.save([text()])
        await vault.save([text("q2")])
    assert sum("not kept" in record.message for record in caplog.records) == 1
    assert await vault.read("q1", actor="a", purpose="", audit=Audit()) == {}


def test_a_key_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 32 bytes"):
        Vault(None, [b"short"])  # type: ignore[arg-type]


def test_a_text_does_not_show_in_its_repr() -> None:
    assert SECRET not in repr(text())
