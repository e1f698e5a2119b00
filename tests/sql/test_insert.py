"""Splitting an INSERT from its data by looking at a bounded prefix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.decision import Refusal, RefusalCode
from gateway.sql.insert import MAX_HEAD, InsertHead, NeedMore, NotInsert, split_insert


@pytest.mark.parametrize(
    ("body", "head", "name"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", "INSERT INTO t FORMAT CSV\n", "CSV"),
        (b"INSERT INTO t FORMAT CSV  \r\n1,2\n", "INSERT INTO t FORMAT CSV  \r\n", "CSV"),
        (b"INSERT INTO t FORMAT RowBinary\n\xff\xfe\x00", "INSERT INTO t FORMAT RowBinary\n", "RowBinary"),
        (b"insert into t values (1)", "insert into t values", "Values"),
        (b"-- c\nINSERT INTO values VALUES (1)", "-- c\nINSERT INTO values VALUES", "Values"),
        (b"INSERT INTO db.format (a, `values`) SETTINGS x = 1 FORMAT JSONEachRow {}",
         "INSERT INTO db.format (a, `values`) SETTINGS x = 1 FORMAT JSONEachRow ", "JSONEachRow"),
        (b"INSERT INTO FUNCTION f('FORMAT x') FORMAT CSV 1", "INSERT INTO FUNCTION f('FORMAT x') FORMAT CSV ", "CSV"),
        (b"INSERT INTO \"format\" FORMAT TSV\tx", 'INSERT INTO "format" FORMAT TSV\t', "TSV"),
    ],
)  # fmt: skip
def test_head(body: bytes, head: str, name: str) -> None:
    for more in (True, False):
        assert split_insert(body, more) == InsertHead(head, len(head), name)


@pytest.mark.parametrize(
    "body",
    [b"SELECT 1", b"INSERT INTO t SELECT 1", b"INSERT INTO t (a) WITH x AS (SELECT 1) SELECT 1", b"", b"'INSERT'",
     b"INSERT INTO t FROM INFILE 'x'", b"WITH a AS (SELECT 1) INSERT INTO t SELECT 1"],
)  # fmt: skip
def test_no_data(body: bytes) -> None:
    assert split_insert(body, more=False) == NotInsert()


@given(cut=st.integers(0, 60))
def test_a_prefix_never_gives_another_answer(cut: int) -> None:
    body = b"/* c */ INSERT INTO db.t (a, b) SETTINGS a = 'x' FORMAT CSV\nVALUES,SELECT\n"
    whole = split_insert(body, more=False)
    assert split_insert(body[:cut], more=True) in (whole, NeedMore())


def test_bounds() -> None:
    refusal = split_insert(b"INSERT INTO t (" + b"a," * MAX_HEAD, more=True)
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.TOO_LARGE
    refusal = split_insert(b"INSERT INTO `\xff` FORMAT CSV\n1", more=False)
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.SYNTAX
