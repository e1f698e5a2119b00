"""Structured logs: JSON lines on stderr for machines, aligned colour for people, never a secret in either.

Whatever logs through the standard library (our modules, aiohttp, SQLAlchemy, Alembic) comes out the same
way, with the query id and the principal of the task that logged it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import orjson
import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.types import EventDict, Processor, WrappedLogger

from gateway.telemetry.redaction import redact, redact_text

QUIET = {
    "aiosqlite": logging.WARNING,
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "aiohttp.access": logging.WARNING,
}

_OURS = frozenset({"event", "level", "logger", "timestamp", "exception", "query_id", "principal"})


def redacting(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The structlog processor that hides secrets, wherever in the event they are."""
    for name, value in event.items():
        if name in _OURS:
            event[name] = redact_text(value) if isinstance(value, str) else value
        else:
            event[name] = redact(value, name)
    return event


def _shared() -> list[Processor]:
    return [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redacting,
    ]


def _json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure(*, level: str = "info", style: str = "json", stream: TextIO | None = None) -> None:
    """Set up logging for this process; `style` is json or console. Raises ValueError for others."""
    if style not in ("json", "console"):
        raise ValueError(f"telemetry.logs: {style!r} is neither json nor console")
    stream = stream or sys.stderr
    last: Any = _json if style == "json" else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name, quiet in QUIET.items():
        logging.getLogger(name).setLevel(quiet)
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


@contextmanager
def query_context(query_id: str, principal: str) -> Iterator[None]:
    """Everything logged inside, by this task, carries the query's id and principal."""
    with bound_contextvars(query_id=query_id, principal=principal):
        yield
