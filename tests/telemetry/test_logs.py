from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gateway.telemetry.logs import configure, query_context
from gateway.telemetry.redaction import HIDDEN, redact, redact_text


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure(stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_a_standard_library_record_is_a_json_line(output: io.StringIO) -> None:
    logging.getLogger("gateway.edge").warning("backend %s is down", "trino-a", extra={"attempt": 3})
    line = lines(output)[0]
    assert (line["event"], line["level"], line["logger"], line["attempt"]) == (
        "backend trino-a is down",
        "warning",
        "gateway.edge",
        3,
    )
    assert line["timestamp"].endswith("Z")


async def test_each_task_logs_its_own_query_and_principal(output: io.StringIO) -> None:
    async def one(name: str) -> None:
        with query_context(f"id-{name}", name):
            await asyncio.sleep(0)
            logging.getLogger("gateway").info("said by %s", name)
            structlog.get_logger("gateway").info("said again", by=name)

    await asyncio.gather(one("alice"), one("bob"))
    logging.getLogger("gateway").info("outside")
    for line in lines(output)[:-1]:
        name = line.get("by") or line["event"].split()[-1]
        assert (line["query_id"], line["principal"]) == (f"id-{name}", name)
    assert "query_id" not in lines(output)[-1]


SECRETS = (
    "hunter2hunter2",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
    "xSlugSlugSlug",
)


@pytest.mark.parametrize(
    "text",
    [
        "cannot connect to postgresql://gw:{0}@db:5432/gw",
        "redis://:{0}@cache/0 refused",
        "Authorization: Basic {0}=",
        "sent bearer {0}",
        "token {1} expired",
        "GET /?user=a&password={0}&database=b",
        "GET /v1/statement/executing/20260101_000000_00001_abcde/{2}/3 failed",
        "DELETE https://trino:8443/v1/statement/queued/20260101_000000_00001_abcde/{2}/1",
        "-----BEGIN RSA PRIVATE KEY-----\n{0}\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n{0}",
    ],
)
def test_secrets_inside_texts_are_hidden(text: str, output: io.StringIO) -> None:
    text = text.format(*SECRETS)
    logging.getLogger("gateway").error("%s", text)
    logging.getLogger("gateway").error("wrapped", extra={"detail": {"deep": [text]}})
    try:
        raise RuntimeError(text)
    except RuntimeError:
        logging.getLogger("gateway").exception("failed")
    assert len(lines(output)) == 3
    assert not [secret for secret in SECRETS if secret in output.getvalue()]
    assert "[redacted]" in output.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "password",
            "X-ClickHouse-Key",
            "authorization",
            "Authorization",
            "api_key",
            "apiKey",
            "client_secret",
        ),
        *(
            "X-Trino-Extra-Credential",
            "Cookie",
            "Set-Cookie",
            "slug",
            "nextToken",
            "encryption_key",
            "private_key",
        ),
        *("key", "store_dsn", "sql", "statement", "error_text"),
    ],
)
def test_values_under_a_secrets_name_are_hidden(name: str) -> None:
    value = "hunter2hunter2"
    assert redact({name: value}) == {name: HIDDEN}
    assert redact([(name, value)]) == [[name, HIDDEN]]
    assert redact({"headers": {name: {"x": value}}}) == {"headers": {name: HIDDEN}}


def test_what_is_no_secret_stays() -> None:
    plain = {"backend": "trino-a", "rows": 3, "key_id": "abc", "ok": True, "none": None, "monkey": "m"}
    assert redact(plain) == plain
    assert redact_text("GET /v1/info took 3 ms, see https://host:8080/ui") == (
        "GET /v1/info took 3 ms, see https://host:8080/ui"
    )


def test_redaction_is_bounded() -> None:
    deep: Any = "x"
    for _ in range(50):
        deep = [deep]
    assert "…" in str(redact(deep))
    assert len(redact_text("x" * 10_000)) == 4001
    assert len(redact(list(range(1000)))) == 100
    assert redact(b"secret") == "[6 bytes]"


def test_the_console_style_is_for_people_and_redacts_too(output: io.StringIO) -> None:
    stream = io.StringIO()
    configure(stream=stream, style="console")
    logging.getLogger("gateway").info("to postgresql://u:hunter2hunter2@h/d")
    assert "to postgresql://u:[redacted]@h/d" in stream.getvalue()
    assert "{" not in stream.getvalue()
    with pytest.raises(ValueError, match="neither json nor console"):
        configure(style="xml")


def test_chatty_libraries_are_quiet(output: io.StringIO) -> None:
    logging.getLogger("sqlalchemy.engine").info("SELECT secret")
    logging.getLogger("aiosqlite").debug("executing")
    assert output.getvalue() == ""
