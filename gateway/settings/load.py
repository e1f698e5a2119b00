"""Reading settings: everything that is wrong, at once, or one immutable value."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML

from gateway.settings.document import Document, read_document
from gateway.settings.explain import place, problems_of
from gateway.settings.model import Settings
from gateway.settings.people import ApiKeyFile, PasswordFile, UsersFile, base_of
from gateway.settings.problems import Problem, SettingsError, did_you_mean
from gateway.settings.references import complaints

M = TypeVar("M", bound=BaseModel)


def load_settings(path: Path | str) -> Settings:
    """The settings in a file. Raises SettingsError with every problem in it and in the files it names."""
    settings, problems = _examine(Path(path))
    if settings is None or problems:
        raise SettingsError(problems)
    return settings


def check(path: Path | str) -> list[Problem]:
    """Every problem of a settings file and of the user and key files that it names; empty when it is good."""
    return sorted(_examine(Path(path))[1])


def load_file(path: Path, model: type[M]) -> M:
    """Any YAML file of ours as its model. Raises SettingsError."""
    value, problems = _validate(read_document(path), path, model)
    if value is None or problems:
        raise SettingsError(problems)
    return value


def redacted(settings: Settings) -> str:
    """The settings in force as YAML, defaults filled in. Secrets appear as the references they are."""
    stream, yaml = io.StringIO(), YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(settings.model_dump(mode="json"), stream)
    return stream.getvalue()


def _validate(document: Document, path: Path, model: type[M]) -> tuple[M | None, list[Problem]]:
    if document.root is None:
        return None, document.problems
    try:
        value = model.model_validate(document.root.data, context=base_of(path))
    except ValidationError as error:
        found = problems_of(document, model, error.errors(include_url=False))
        return None, [*document.problems, *found]
    return value, document.problems


def _examine(path: Path) -> tuple[Settings | None, list[Problem]]:
    document = read_document(path)
    settings, problems = _validate(document, path, Settings)
    if document.root is None:
        return None, problems
    wrong = [place(document.file, document.root, *complaint) for complaint in complaints(document.root.data)]
    problems = [*problems, *wrong]
    if settings is not None:
        problems += _people(settings)
    return settings, problems


def _people(settings: Settings) -> list[Problem]:
    """Problems of the user and key files. They are read again when the authenticator is built."""
    identity, problems = settings.identity, []
    if identity.users_file is not None:
        problems += _named_entries(identity.users_file, UsersFile, "users", "name")
    if identity.passwords is not None:
        problems += _named_entries(identity.passwords.file, PasswordFile, "users", "name")
    if identity.api_keys is not None:
        problems += api_key_problems(identity.api_keys.file, list(identity.api_keys.scopes))
    return problems


def _named_entries(path: Path, model: type[BaseModel], entries: str, key: str) -> list[Problem]:
    document = read_document(path)
    _, problems = _validate(document, path, model)
    if document.root is None or not isinstance(document.root.data, dict):
        return problems
    seen: dict[str, int] = {}
    values = document.root.data.get(entries)
    for index, entry in enumerate(values if isinstance(values, list) else ()):
        name = entry.get(key) if isinstance(entry, dict) else None
        if isinstance(name, str) and seen.setdefault(name, index) != index:
            message = f"'{name}' is already {entries}[{seen[name]}]"
            problems = [*problems, place(document.file, document.root, (entries, index, key), message)]
    return problems


def api_key_problems(path: Path, scopes: list[str]) -> list[Problem]:
    """Problems of an API key file, scopes that nobody defined among them."""
    problems = _named_entries(path, ApiKeyFile, "keys", "id")
    document = read_document(path)
    if problems or document.root is None:
        return problems
    for index, entry in enumerate(document.root.data["keys"]):
        for number, scope in enumerate(entry.get("scopes", ())):
            if scope not in scopes:
                hint = did_you_mean(scope, scopes)
                message = f"unknown scope '{scope}'{hint}; see identity.api_keys.scopes"
                location = ("keys", index, "scopes", number)
                problems.append(place(document.file, document.root, location, message))
    return problems
