"""`gateway users …`."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.common import out

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
) -> None:
    """Make an API key: prints the key once, and the entry for the key file."""
    from gateway.identity.api_keys import new_api_key

    secret, identifier, stored = new_api_key()
    for line in (
        f"key (shown once): {secret}",
        "keys:",
        f"  - {{id: {identifier}, hash: '{stored}', user: {user}}}",
    ):
        out.print(line, markup=False, highlight=False)
