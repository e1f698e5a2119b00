"""From request to credentials: pure, strict, one proof at a time."""

from __future__ import annotations

import base64

import pytest

from gateway.identity.clickhouse import clickhouse_credentials
from gateway.identity.contract import Credentials
from gateway.identity.http import CredentialsRefused
from gateway.identity.trino import trino_credentials
from gateway.wire.http.message import Headers


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def trino(*headers: tuple[str, str], certificate: bytes | None = None) -> Credentials:
    return trino_credentials(Headers(headers), certificate=certificate, peer="10.0.0.1")


def clickhouse(
    *headers: tuple[str, str], url: list[tuple[str, str]] | None = None, certificate: bytes | None = None
) -> Credentials:
    return clickhouse_credentials(Headers(headers), url or [], certificate=certificate, peer="10.0.0.1")


P = "10.0.0.1"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], Credentials(peer=P)),
        ([("x-trino-user", "alice")], Credentials(act_as="alice", peer=P)),
        ([("Authorization", basic("alice:pw"))], Credentials(user="alice", password="pw", peer=P)),
        ([("Authorization", basic("alice:p:w:"))], Credentials(user="alice", password="p:w:", peer=P)),
        ([("Authorization", basic("älice:pä"))], Credentials(user="älice", password="pä", peer=P)),
        (
            [("Authorization", basic("alice:pw")), ("X-Trino-User", "alice")],
            Credentials(user="alice", password="pw", peer=P),
        ),
        (
            [("Authorization", basic("svc:pw")), ("X-Trino-User", "bob")],
            Credentials(user="svc", password="pw", act_as="bob", peer=P),
        ),
        (
            [("Authorization", basic("svc:pw")), ("X-Trino-User", "bob"), ("X-Trino-Original-User", "root")],
            Credentials(user="svc", password="pw", act_as="bob", peer=P),
        ),
        ([("authorization", "bearer  a.b.c")], Credentials(token="a.b.c", peer=P)),
        (
            [("Authorization", "Bearer t"), ("X-Trino-User", "bob")],
            Credentials(token="t", act_as="bob", peer=P),
        ),
    ],
)
def test_trino(headers: list[tuple[str, str]], expected: Credentials) -> None:
    assert trino(*headers) == expected


def test_trino_certificate_counts_only_without_another_proof() -> None:
    assert trino(("X-Trino-User", "bob"), certificate=b"der") == Credentials(
        certificate=b"der", act_as="bob", peer=P
    )
    assert trino(("Authorization", basic("a:b")), certificate=b"der") == Credentials(
        user="a", password="b", peer=P
    )


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", basic("a:b")), ("Authorization", basic("c:d"))],
        [("X-Trino-User", "a"), ("X-Trino-User", "b")],
        [("Authorization", "Basic !!!!")],
        [("Authorization", basic("nocolon"))],
        [("Authorization", basic(":pw"))],
        [("Authorization", "Basic " + base64.b64encode(b"\xff:\xfe").decode())],
        [("Authorization", basic("a\x00b:pw"))],
        [("Authorization", basic("a:" + "x" * 1025))],
        [("Authorization", basic("a" * 257 + ":x"))],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer a b")],
        [("Authorization", "Negotiate abc")],
        [("Authorization", "Bearer " + "x" * 40_000)],
        [("X-Trino-User", "a\u0085b")],
    ],
)
def test_trino_refuses_what_is_not_one_readable_proof(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(CredentialsRefused) as refusal:
        trino(*headers)
    assert "pw" not in str(refusal.value)


@pytest.mark.parametrize(
    ("headers", "url", "expected"),
    [
        ([], [], Credentials(peer=P)),
        ([("X-ClickHouse-User", "default")], [], Credentials(peer=P)),
        ([("X-ClickHouse-User", "default"), ("X-ClickHouse-Key", "")], [], Credentials(peer=P)),
        ([("X-ClickHouse-Key", "k")], [], Credentials(user="default", password="k", peer=P)),
        (
            [("X-ClickHouse-User", "alice"), ("X-ClickHouse-Key", "pw")],
            [("query", "select 1")],
            Credentials(user="alice", password="pw", peer=P),
        ),
        ([("X-ClickHouse-User", "alice")], [], Credentials(act_as="alice", peer=P)),
        (
            [("X-ClickHouse-User", "älice".encode().decode("latin-1")), ("X-ClickHouse-Key", "p")],
            [],
            Credentials(user="älice", password="p", peer=P),
        ),
        ([("Authorization", basic("alice:pw"))], [], Credentials(user="alice", password="pw", peer=P)),
        ([("Authorization", basic("default:"))], [], Credentials(peer=P)),
        ([("Authorization", "Bearer a.b.c")], [], Credentials(token="a.b.c", peer=P)),
        ([], [("user", "alice"), ("password", "pw")], Credentials(user="alice", password="pw", peer=P)),
        ([], [("password", "pw")], Credentials(user="default", password="pw", peer=P)),
        ([], [("user", "alice")], Credentials(act_as="alice", peer=P)),
    ],
)
def test_clickhouse(
    headers: list[tuple[str, str]], url: list[tuple[str, str]], expected: Credentials
) -> None:
    assert clickhouse(*headers, url=url) == expected


def test_clickhouse_certificate_is_used_where_asked_for_or_where_nothing_else_is_offered() -> None:
    asked = [("X-ClickHouse-SSL-Certificate-Auth", "on"), ("X-ClickHouse-User", "alice")]
    assert clickhouse(*asked, certificate=b"der") == Credentials(certificate=b"der", act_as="alice", peer=P)
    assert clickhouse(certificate=b"der") == Credentials(certificate=b"der", peer=P)
    by_password = clickhouse(("Authorization", basic("a:b")), certificate=b"der")
    assert by_password == Credentials(user="a", password="b", peer=P)


USER, KEY = ("X-ClickHouse-User", "a"), ("X-ClickHouse-Key", "k")
AUTH, CERT = ("Authorization", basic("a:b")), ("X-ClickHouse-SSL-Certificate-Auth", "on")


@pytest.mark.parametrize(
    ("headers", "url"),
    [
        ([USER, AUTH], []),
        ([KEY, AUTH], []),
        ([USER], [("user", "a")]),
        ([KEY], [("password", "p")]),
        ([AUTH], [("user", "a")]),
        ([], [("user", "a"), ("user", "b")]),
        ([USER, USER], []),
        ([CERT, AUTH], []),
        ([CERT, USER, KEY], []),
        ([CERT], [("user", "a")]),
        ([CERT, USER], []),  # no certificate on the connection
        ([("Authorization", "Digest x")], []),
        ([("X-ClickHouse-User", "\xe4lice")], []),
        ([USER, ("X-ClickHouse-Key", "k" * 1025)], []),
    ],
)
def test_clickhouse_refuses_several_proofs(
    headers: list[tuple[str, str]], url: list[tuple[str, str]]
) -> None:
    with pytest.raises(CredentialsRefused):
        clickhouse(*headers, url=url)


def test_credentials_do_not_show_secrets() -> None:
    shown = repr(Credentials(user="u", password="hunter2", token="tok3n"))
    assert "hunter2" not in shown
    assert "tok3n" not in shown
