"""A decision from the settings alone, for `gateway explain`: same stages, same loop, nothing running."""

from __future__ import annotations

from typing import Any

from gateway.core.decision import Decision
from gateway.core.facts import Probe
from gateway.core.principal import Principal
from gateway.core.snapshot import Snapshot
from gateway.core.statement import Statement
from gateway.edge.decider import Decider, DeciderLimits, ProbeFailed
from gateway.edge.snapshots import SnapshotHolder
from gateway.identity.directory import build_directory
from gateway.identity.generation import read_files
from gateway.metadata.model import Catalogue
from gateway.pipeline import STAGES
from gateway.runtime.parts import snapshot_parts
from gateway.settings import Settings, SettingsError


class ExplainFailed(Exception):
    """The rules cannot be loaded; the message lists what is wrong."""


async def explain_offline(
    settings: Settings, statement: Statement, user: str, groups: frozenset[str]
) -> Decision:
    """What would be decided for this user, with the groups of the user files and those given."""
    try:
        holder = SnapshotHolder(Snapshot([*snapshot_parts(settings), Catalogue()]))
    except SettingsError as error:
        raise ExplainFailed(str(error)) from error
    try:
        principal = known_principal(settings, user, groups)
    except SettingsError as error:
        raise ExplainFailed(str(error)) from error
    decider = Decider(holder, STAGES, _no_engine, DeciderLimits(cache_entries=0))
    return (await decider.decide(statement, principal)).decision


def known_principal(settings: Settings, user: str, groups: frozenset[str]) -> Principal:
    """The principal as the user files describe it, with further groups. Raises SettingsError."""
    files = read_files(settings.identity)
    users = files.passwords.users if files.passwords is not None else ()
    known = build_directory([users, files.people]).of(user)
    return Principal(user, known.groups | groups, known.attributes, method="explain")


async def _no_engine(probe: Probe[Any], _snapshot: Snapshot) -> Any:
    raise ProbeFailed(probe, "`gateway explain` asks no engine; the running gateway would")
