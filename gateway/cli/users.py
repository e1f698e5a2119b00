"""`gateway users …`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import DEFAULT_CONFIG, USAGE, ConfigOption, err, exists_or_exit, fail, show_problems
from gateway.settings import SettingsError

app = typer.Typer(help="Entries for the files of users and keys.", no_args_is_help=True)


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
    """Print an entry for `identity.passwords.file`: the name and an argon2id hash.

    A first file: `gateway users hash anna > users.yaml`. Further entries go under its `users:`.
    """
    from gateway.identity.passwords import hash_password

    if not password:
        fail("the password is empty", USAGE)
    typer.echo(f"users:\n  - {{name: {_quoted(name)}, password: '{hash_password(password)}'}}")


@app.command()
def key(
    user: Annotated[str, typer.Argument(help="Whom the key logs in.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Make an API key. The key itself goes to stderr, once; the entry for `identity.api_keys.file` to stdout.

    A first file: `gateway users key nightly > keys.yaml`. The hash holds the settings' pepper, where they have one.
    """
    from gateway.identity.api_keys import new_api_key

    secret, identifier, stored = new_api_key(_pepper(config))
    err.print(f"key (shown once): {secret}", markup=False, highlight=False)
    typer.echo(f"keys:\n  - {{id: {_quoted(identifier)}, hash: '{stored}', user: {_quoted(user)}}}")


def _quoted(name: str) -> str:
    """As YAML text, whatever is in it."""
    return json.dumps(name, ensure_ascii=False)


def _pepper(config: Path) -> str | None:
    """`identity.api_keys.pepper` and nothing else of the settings: the key file that they name may not exist yet."""
    from pydantic import ValidationError

    from gateway.settings.document import must_read
    from gateway.settings.kinds import SecretRef
    from gateway.settings.people import base_of

    if config == DEFAULT_CONFIG and not config.exists():
        err.print(f"no {config} here: the key is made without a pepper", style="yellow")
        return None
    exists_or_exit(config)
    try:
        root = must_read(config)
    except SettingsError as error:
        show_problems(error.problems)
        raise typer.Exit(USAGE) from None
    node = root
    for part in ("identity", "api_keys", "pepper"):
        if part not in node.children:
            return None
        node = node.children[part]
    if node.data is None:
        return None
    try:
        return SecretRef.model_validate(node.data, context=base_of(config)).reveal()
    except ValidationError as error:
        fail(f"{config}:{node.line}: identity.api_keys.pepper: {error.errors()[0]['msg']}", USAGE)
