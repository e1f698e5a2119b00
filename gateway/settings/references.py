"""What one part of the settings says about another.

Works on the plain data, so that it also runs, and reports everything at once, where other parts are wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.core.decision import EngineKind
from gateway.settings.document import spell
from gateway.settings.kinds import is_loopback
from gateway.settings.problems import did_you_mean
from gateway.settings.sections.backends import WIRE_OF_ENGINE

Location = tuple[int | str, ...]
Complaint = tuple[Location, str]


def complaints(data: Any) -> Iterator[Complaint]:
    """(location, message) for each reference that does not hold."""
    if not isinstance(data, dict):
        return
    for section in ("listeners", "backends"):
        yield from _twice(data, section)
    yield from _ports(data)
    yield from _groups(data)
    yield from _wires(data)
    yield from _log_ins(data)


def _entries(data: dict[str, Any], section: str) -> list[tuple[int, dict[str, Any]]]:
    entries = data.get(section)
    return [(i, e) for i, e in enumerate(entries) if isinstance(e, dict)] if isinstance(entries, list) else []


def _mapping(data: dict[str, Any], section: str) -> dict[str, Any]:
    value = data.get(section)
    return value if isinstance(value, dict) else {}


def _twice(data: dict[str, Any], section: str) -> Iterator[Complaint]:
    seen: dict[str, int] = {}
    for index, entry in _entries(data, section):
        name = entry.get("name")
        if isinstance(name, str) and seen.setdefault(name, index) != index:
            yield (section, index, "name"), f"the name '{name}' is taken by {section}[{seen[name]}]"


def _ports(data: dict[str, Any]) -> Iterator[Complaint]:
    doors: list[tuple[Location, Any, Any]] = [
        (("listeners", i, "port"), e.get("host", "127.0.0.1"), e.get("port"))
        for i, e in _entries(data, "listeners")
    ]
    admin = _mapping(data, "admin")
    doors.append((("admin", "port"), admin.get("host", "127.0.0.1"), admin.get("port")))
    if data.get("metrics", {}) is not None:
        metrics = _mapping(data, "metrics")
        doors.append((("metrics", "port"), metrics.get("host", "127.0.0.1"), metrics.get("port", 9090)))
    taken: dict[tuple[str, int], Location] = {}
    for location, host, port in doors:
        if isinstance(port, int) and port and isinstance(host, str):
            first = taken.setdefault((host, port), location)
            if first != location:
                yield location, f"port {port} of {host} is taken by {spell(first)}"


def _wire_of(backend: dict[str, Any]) -> str | None:
    try:
        return WIRE_OF_ENGINE[EngineKind(str(backend.get("engine")))].value
    except ValueError:
        return None


def _groups(data: dict[str, Any]) -> Iterator[Complaint]:
    groups = _mapping(data, "groups")
    for index, backend in _entries(data, "backends"):
        wire, name = _wire_of(backend), backend.get("group") or _wire_of(backend)
        if not isinstance(name, str) or wire is None:
            continue
        if groups and name not in groups:
            hint = did_you_mean(name, groups) or f" (known: {_list(groups)})"
            yield ("backends", index, "group"), f"there is no group '{name}'{hint}"
        group_wire = groups[name].get("wire") if isinstance(groups.get(name), dict) else None
        if group_wire in ("trino", "clickhouse") and group_wire != wire:
            message = f"the group '{name}' is for {group_wire}, this engine speaks {wire}"
            yield ("backends", index, "group"), message
    yield from _implied_groups(data) if not groups else _default_groups(data, groups)


def _implied_groups(data: dict[str, Any]) -> Iterator[Complaint]:
    first: dict[str, str] = {}
    for index, backend in _entries(data, "backends"):
        wire, name = _wire_of(backend), backend.get("group") or _wire_of(backend)
        if wire is not None and isinstance(name, str) and first.setdefault(wire, name) != name:
            message = f"a second group for {wire} beside '{first[wire]}'; list both under groups, one default"
            yield ("backends", index, "group"), message


def _default_groups(data: dict[str, Any], groups: dict[str, Any]) -> Iterator[Complaint]:
    for wire in ("trino", "clickhouse"):
        mine = {n: g for n, g in groups.items() if isinstance(g, dict) and g.get("wire") == wire}
        defaults = [name for name, group in mine.items() if group.get("default") is True]
        for name in defaults[1:]:
            yield ("groups", name, "default"), f"'{defaults[0]}' is already the default for {wire}"
        if len(mine) > 1 and not defaults:
            yield ("groups",), f"several groups for {wire} and none has `default: true`"


def _wires(data: dict[str, Any]) -> Iterator[Complaint]:
    backends = _entries(data, "backends")
    served = {_wire_of(backend) for _, backend in backends}
    if not backends or None in served:
        return
    for index, listener in _entries(data, "listeners"):
        wire = listener.get("wire")
        if wire in ("trino", "clickhouse") and wire not in served:
            yield ("listeners", index, "wire"), f"no backend speaks {wire}; add one or remove this listener"


def _log_ins(data: dict[str, Any]) -> Iterator[Complaint]:
    identity = _mapping(data, "identity")
    if "identity" in data and not _anyone_can_log_in(identity):
        expected = "passwords, api_keys, jwt, certificates or anonymous: {enabled: true}"
        yield ("identity",), f"nobody could log in; expected {expected}"
    listeners = [entry for _, entry in _entries(data, "listeners")]
    if identity.get("certificates") is not None and listeners and not any(map(_asks_certificates, listeners)):
        yield ("identity", "certificates"), "no listener has tls.client_ca, so none would ever be seen"
    yield from _issuers(identity)
    for index, backend in _entries(data, "backends"):
        yield from _secrets_in_the_open(index, backend)


def _issuers(identity: dict[str, Any]) -> Iterator[Complaint]:
    seen: dict[str, int] = {}
    for index, entry in _entries(identity, "jwt"):
        issuer = entry.get("issuer")
        if isinstance(issuer, str) and (first := seen.setdefault(issuer, index)) != index:
            yield ("identity", "jwt", index, "issuer"), f"the same issuer as jwt[{first}]; expected one entry"


def _anyone_can_log_in(identity: dict[str, Any]) -> bool:
    if any(identity.get(name) for name in ("passwords", "api_keys", "jwt")):
        return True
    if identity.get("certificates") is not None:
        return True
    return _mapping(identity, "anonymous").get("enabled") is not False and "anonymous" in identity


def _asks_certificates(listener: dict[str, Any]) -> bool:
    return _mapping(listener, "tls").get("client_ca") is not None


def _secrets_in_the_open(index: int, backend: dict[str, Any]) -> Iterator[Complaint]:
    """Trino refuses passwords over plain HTTP, and bearer tokens would be readable on the way."""
    url, credentials = backend.get("url"), _mapping(backend, "credentials")
    secret = next((name for name in ("password", "token") if credentials.get(name) is not None), None)
    if secret and isinstance(url, str) and url.startswith("http://") and backend.get("engine") == "trino":
        host = url.removeprefix("http://").split("/")[0].rsplit(":", 1)[0]
        if not is_loopback(host):
            yield ("backends", index, "credentials", secret), "Trino takes it over https only; change the url"


def _list(names: dict[str, Any]) -> str:
    return ", ".join(sorted(names)[:20])
