"""`gateway …` inside the test's own process: what it printed and how it ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from gateway.cli import app


@dataclass(frozen=True, slots=True)
class Ran:
    """`out` and `err` apart, as a shell would have them."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def row(self, word: str) -> str:
        """The one line of the output with that word in it."""
        (line,) = [line for line in self.out.splitlines() if word in line]
        return line


def run(*arguments: str, environment: dict[str, str] | None = None, typed: str | None = None) -> Ran:
    """Run one command. Whatever it raises, other than its own exit, is the test's failure."""
    result = CliRunner().invoke(app, list(arguments), env=environment, input=typed)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)
