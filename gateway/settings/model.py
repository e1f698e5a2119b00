"""The whole of `gateway.yaml` as one immutable value."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from gateway.core.modes import ModeRule, Modes
from gateway.core.statement import Wire
from gateway.settings.kinds import Name, Section, Some
from gateway.settings.sections.backends import Backend, Group
from gateway.settings.sections.doors import Admin, Listener, Metrics
from gateway.settings.sections.governance import MODE_ALONE, FeatureModes, Governance, Rules, mode_alone
from gateway.settings.sections.identity import Identity
from gateway.settings.sections.limits import Limits
from gateway.settings.sections.state import Audit, Server, Store, Telemetry
from gateway.settings.sections.wires import ClickHouseWire, TrinoWire


class Settings(Section):
    """`gateway.yaml`. Read it with `load_settings`; it does not change afterwards."""

    version: Literal[1]
    """The version of this format."""
    listeners: Some[Listener]
    """Ports that clients connect to."""
    identity: Identity
    """Who may come in."""
    backends: Some[Backend]
    """The engines."""
    groups: dict[Name, Group] = Field(default_factory=dict)
    """Groups of backends. May be left out while each wire has one group."""
    governance: Annotated[Governance, BeforeValidator(mode_alone), MODE_ALONE]
    """Policies; `governance: off` says explicitly that there are none."""
    modes: dict[Name, FeatureModes] = Field(default_factory=dict)
    """Feature to its mode: off, observe or enforce, or a list of rules. Features not named are off."""
    rules: Rules = Rules()
    """Rule files."""
    limits: Limits = Limits()
    """Bounds."""
    trino: TrinoWire = TrinoWire()
    """What the Trino protocol lets through."""
    clickhouse: ClickHouseWire = ClickHouseWire()
    """What the ClickHouse protocol lets through."""
    store: Store = Field(default_factory=dict, validate_default=True)
    """The database."""
    audit: Audit = Field(default_factory=dict, validate_default=True)
    """The audit record."""
    admin: Admin = Admin()
    """The admin API."""
    metrics: Metrics | None = Metrics()
    """Prometheus metrics and health; null opens no port."""
    telemetry: Telemetry = Telemetry()
    """Logs and traces."""
    server: Server = Field(default_factory=dict, validate_default=True)
    """Processes."""

    @cached_property
    def digest(self) -> str:
        """Changes whenever any setting changes (not when a file that it names does)."""
        return hashlib.blake2b(self.model_dump_json().encode(), digest_size=8).hexdigest()

    @cached_property
    def all_groups(self) -> dict[str, Group]:
        """`groups`, or where left out those that the backends imply; each is the default of its wire."""
        if self.groups:
            return self.groups
        return {b.group_name: Group(wire=b.wire, default=True) for b in self.backends}

    def default_group(self, wire: Wire) -> str | None:
        """The group that takes statements of a wire where no rule says otherwise."""
        mine = {name: group for name, group in self.all_groups.items() if group.wire is wire}
        return next((n for n, g in mine.items() if g.default or len(mine) == 1), None)

    def backend(self, name: str) -> Backend | None:
        """The backend of that name."""
        return next((b for b in self.backends if b.name == name), None)

    def feature_modes(self) -> Modes:
        """The modes as the core knows them; governance among them, under `governance`."""
        rules = {name: tuple(rule.as_rule() for rule in entry) for name, entry in self.modes.items()}
        rules.setdefault("governance", (ModeRule(self.governance.mode),))
        return Modes(rules, version=self.digest)
