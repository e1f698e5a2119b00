"""`gateway check`."""

from __future__ import annotations

import typer

from gateway.cli.common import (
    DEFAULT_CONFIG,
    USAGE,
    ConfigOption,
    FileArgument,
    JsonOption,
    exists_or_exit,
    out,
    print_json,
    show_problems,
)
from gateway.settings import Problem, SettingsError, load_settings
from gateway.settings import check as check_settings


def check(
    file: FileArgument = None, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Check settings, user and key files, rules and their cases; every mistake at once, with file and line.

    Exits 0 when all is good, 2 otherwise.
    """
    config = file or config
    if not as_json:
        exists_or_exit(config)
    problems = [*check_settings(config), *_rule_problems(config)]
    if as_json:
        print_json(
            [{k: getattr(p, k) for k in ("file", "line", "column", "path", "message")} for p in problems]
        )
    elif problems:
        show_problems(problems)
    else:
        out.print(f"{config}: good", style="green")
    if problems:
        raise typer.Exit(USAGE)


def _rule_problems(config: object) -> list[Problem]:
    from gateway.identity.generation import identity_problems
    from gateway.runtime.parts import snapshot_parts

    try:
        settings = load_settings(config)  # type: ignore[arg-type]
    except SettingsError:
        return []  # reported by the settings themselves
    found = list(identity_problems(settings.identity))
    try:
        snapshot_parts(settings)
    except SettingsError as error:
        found += error.problems
    return found
