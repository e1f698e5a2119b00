"""`gateway users …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import DEFAULT_CONFIG, ConfigOption, out, settings_or_exit

app = typer.Typer(help="Users of the password file.", no_args_is_help=True)


@app.command(name="hash")
def hash_(
    name: Annotated[str, typer.Argument(help="The user's name.")],
    password: Annotated[
        str,
        typer.Option(
            prompt=True, hide_input=True, confirmation_prompt=True, envvar="GATEWAY_NEW_PASSWORD",
            help="Asked for if left out; better not given on a command line, where others can see it.",
        ),
    ],
) -> None:  # fmt: skip
    """Print an entry for the password file: the name and an argon2id hash."""
    from gateway.identity.passwords import hash_password

    out.print("users:", markup=False, highlight=False)
    out.print(f"  - {{name: {name}, password: '{hash_password(password)}'}}", markup=False, highlight=False)


@app.command()
def key(
    user: Annotated[str, typer.Argument(help="Whom the key logs in.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Make an API key: prints the key once, and the entry for the key file (with the settings' pepper)."""
    from gateway.identity.api_keys import new_api_key

    secret, identifier, stored = new_api_key(_pepper(config))
    for line in (
        f"key (shown once): {secret}",
        "keys:",
        f"  - {{id: {identifier}, hash: '{stored}', user: {user}}}",
    ):
        out.print(line, markup=False, highlight=False)


def _pepper(config: Path) -> str | None:
    if not config.exists():
        return None
    keys = settings_or_exit(config).identity.api_keys
    return keys.pepper.reveal() if keys is not None and keys.pepper is not None else None
