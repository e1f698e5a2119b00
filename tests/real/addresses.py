"""Where a running real engine is reached: what `scripts/engines.py` wrote about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class TrinoAddress:
    """No authentication: any user name is taken. Catalogs: tpch, tpcds, memory, blackhole, lake (Iceberg)."""

    url: str
    host: str
    port: int
    process_forwarded: bool

    @classmethod
    def of(cls, described: dict[str, Any]) -> Self:
        return cls(described["url"], *_host_and_port(described["url"]), described["process_forwarded"])


@dataclass(frozen=True, slots=True)
class ClickHouseAddress:
    """`user` has full rights; `default` has them too, without a password."""

    url: str
    host: str
    port: int
    tcp_port: int
    user: str
    password: str

    @classmethod
    def of(cls, described: dict[str, Any]) -> Self:
        url = described["url"]
        credentials = described["user"], described["password"]
        return cls(url, *_host_and_port(url), described["tcp_port"], *credentials)


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """The user of `dsn` is the superuser of a cluster without durability."""

    dsn: str
    host: str
    port: int

    @classmethod
    def of(cls, described: dict[str, Any]) -> Self:
        return cls(described["dsn"], *_host_and_port(described["dsn"]))


@dataclass(frozen=True, slots=True)
class RedisAddress:
    url: str
    host: str
    port: int

    @classmethod
    def of(cls, described: dict[str, Any]) -> Self:
        return cls(described["url"], *_host_and_port(described["url"]))


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"no host and port in {url!r}")
    return parts.hostname, parts.port
