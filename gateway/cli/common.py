"""What the commands share: options, the settings file, and how mistakes are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from gateway.settings import Problem, Settings, SettingsError, load_settings

# Files and pipes get wide lines: nobody's terminal wraps them.
_WIDTH = None if sys.stdout.isatty() else 160
out = Console(soft_wrap=True, width=_WIDTH)
err = Console(stderr=True, soft_wrap=True)

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="GATEWAY_CONFIG", help="The settings file."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
DEFAULT_CONFIG = Path("gateway.yaml")

USAGE, FAILED = 2, 1


def settings_or_exit(path: Path) -> Settings:
    """The settings, or every problem with them on stderr and exit code 2."""
    try:
        return load_settings(path)
    except SettingsError as error:
        show_problems(error.problems)
        raise typer.Exit(USAGE) from None


def show_problems(problems: Sequence[Problem]) -> None:
    """One line a problem, as editors and terminals can jump to."""
    for problem in problems:
        err.print(str(problem), markup=False, highlight=False)
    err.print(f"{len(problems)} problem{'s' if len(problems) != 1 else ''}", style="bold red")


def print_json(value: Any) -> None:
    """JSON on stdout, for machines."""
    typer.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Say what went wrong and leave."""
    err.print(message, style="red", markup=False, highlight=False)
    raise typer.Exit(code)
