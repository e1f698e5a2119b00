"""`gateway config …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import DEFAULT_CONFIG, ConfigOption, FileArgument, fail, out, settings_or_exit
from gateway.settings import redacted

app = typer.Typer(help="The settings.", no_args_is_help=True)


@app.command()
def show(file: FileArgument = None, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Print the settings in force, defaults filled in; secrets appear only as references."""
    out.print(redacted(settings_or_exit(file or config)), markup=False, highlight=False, end="")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the settings, for editors."""
    from gateway.settings.reference import schema_text

    typer.echo(schema_text(), nl=False)


@app.command()
def init(path: Annotated[Path, typer.Argument(help="Where to write it.")] = DEFAULT_CONFIG) -> None:
    """Write a small commented settings file to start from; an existing file is never overwritten."""
    from gateway.settings.starter import STARTER

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER)
    except FileExistsError:
        fail(f"{path} exists already; nothing was changed")
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}")
    users = path.parent / "users.yaml"
    for line in (
        f"wrote {path}; next:",
        f"  gateway users hash YOUR-NAME > {users}",
        f"  gateway check {path}",
        f"  gateway serve --config {path}",
    ):
        out.print(line, markup=False, highlight=False)
