"""What the commands share: options, the settings file, and how mistakes are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.settings import Problem, Settings, SettingsError, load_settings

# Into files and pipes tables are as wide as they need to be: nothing there is folded or cut.
_WIDTH = None if sys.stdout.isatty() else 10_000
out = Console(soft_wrap=True, width=_WIDTH)
err = Console(stderr=True, soft_wrap=True)

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="GATEWAY_CONFIG", help="The settings file."),
]
FileArgument = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="The settings file; the same as --config.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
DEFAULT_CONFIG = Path("gateway.yaml")

USAGE, FAILED = 2, 1


def settings_or_exit(path: Path) -> Settings:
    """The settings, or every problem with them on stderr and exit code 2."""
    exists_or_exit(path)
    try:
        return load_settings(path)
    except SettingsError as error:
        show_problems(error.problems)
        raise typer.Exit(USAGE) from None


def exists_or_exit(path: Path) -> None:
    """One clear line and exit code 2 where there is no settings file at all."""
    if not path.exists():
        fail(
            f"{path}: there is no such settings file; name one with --config, "
            "or make one with `gateway config init`",
            USAGE,
        )


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


def table_of(*columns: str, whole: Sequence[str] = ()) -> Table:
    """An empty table for a terminal or a file; the columns in `whole` are never folded or cut."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=name in whole, overflow="fold")
    return table


def show_facts(facts: Mapping[str, Any]) -> None:
    """One line a fact; those that are not known or empty are left out."""
    known = {name: value for name, value in facts.items() if value not in (None, (), [], {}, "", False)}
    width = max(map(len, known), default=0)
    for name, value in known.items():
        out.print(f"{name:<{width}}  {_words(value)}", markup=False, highlight=False)


def _words(value: Any) -> str:
    match value:
        case dict():
            return ", ".join(f"{name} {_words(inner)}" for name, inner in value.items())
        case list() | tuple():
            return ", ".join(map(_words, value))
        case True:
            return "yes"
        case _:
            return str(value)


def show_trail(trail: Sequence[Mapping[str, Any]]) -> None:
    """The steps of a decision, in order."""
    if not trail:
        return
    steps = table_of("stage", "what happened", "rule", "why")
    for step in trail:
        effect = f"would have {step['effect']}" if step.get("observed") else step["effect"]
        cells = (step["stage"], effect, step.get("rule") or "", step.get("detail") or "")
        steps.add_row(*map(Text, cells))
    out.print(steps)
