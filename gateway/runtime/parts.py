"""The snapshot's parts that come from settings and rule files."""

from __future__ import annotations

from gateway.core.modes import Mode
from gateway.core.snapshot import Part
from gateway.geo.model import Routing
from gateway.geo.rules import load_routing
from gateway.policy.stage import Policies
from gateway.runtime import build
from gateway.settings import Problem, Settings, SettingsError
from gateway.sql.stage import SqlRules


def snapshot_parts(settings: Settings) -> list[Part]:
    """Modes, topology, routing, policies and limits. Raises SettingsError with every problem of a file."""
    if settings.governance.mode is not Mode.OFF:
        # Better no gateway than one that only looks as if it enforced something.
        message = "this version cannot enforce or observe policies yet; write `governance: off`"
        raise SettingsError([Problem("settings", 1, 1, "governance.mode", message)])
    return [
        settings.feature_modes(),
        build.topology(settings),
        routing(settings),
        Policies(),
        build.sql_limits(settings),
        SqlRules(pass_unparsed=settings.governance.mode is Mode.OFF, version=settings.governance.mode.value),
    ]


def routing(settings: Settings) -> Routing:
    """The rules of `routing.yaml`, or none where there is no such file."""
    directory = settings.rules.directory
    path = directory / "routing.yaml" if directory is not None else None
    if path is None or not path.exists():
        return Routing()
    return load_routing(path, frozenset(backend.group_name for backend in settings.backends))
