"""Everything about identity that one version of the settings says. Built aside, then swapped in whole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.core.principal import Principal
from gateway.identity.api_keys import ApiKeyScheme
from gateway.identity.certificates import CertificateScheme
from gateway.identity.contract import AuthenticationFailed
from gateway.identity.directory import Directory, build_directory
from gateway.identity.impersonation import ImpersonationRules
from gateway.identity.jwks_url import JwksUrlOptions
from gateway.identity.jwt import JwtScheme
from gateway.identity.keys import BadKeySet, KeySource, SharedSecret, parse_key_set
from gateway.identity.memory import Fingerprints, Memory
from gateway.identity.passwords import PasswordPool, PasswordScheme
from gateway.identity.scheme import Verified
from gateway.settings.kinds import SecretUnavailable
from gateway.settings.load import api_key_problems, load_file
from gateway.settings.people import ApiKeyFile, PasswordFile, Person, UsersFile
from gateway.settings.problems import Problem, SettingsError
from gateway.settings.sections.identity import Identity, JwtIssuer

REMEMBERED = 10_000
"""Credentials remembered per process."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files that `identity` names, read and valid."""

    people: tuple[Person, ...] = ()
    passwords: PasswordFile | None = None
    api_keys: ApiKeyFile | None = None
    pepper: str | None = None
    keys: Mapping[str, KeySource] = field(default_factory=dict)
    """Issuer to its keys, for issuers whose keys do not come from a URL."""


@dataclass(slots=True)
class Generation:
    """One version of identity, with what was verified under it."""

    settings: Identity
    directory: Directory
    impersonation: ImpersonationRules
    anonymous: Principal | None
    passwords: PasswordScheme | None
    api_keys: ApiKeyScheme | None
    tokens: JwtScheme | None
    certificates: CertificateScheme | None
    fingerprints: Fingerprints
    principals: Memory[Principal]
    proofs: Memory[Verified]
    under_way: dict[bytes, asyncio.Future[Verified | AuthenticationFailed]] = field(default_factory=dict)


def url_options(issuer: JwtIssuer) -> JwksUrlOptions | None:
    """The key source of an issuer whose keys come from a URL."""
    if issuer.jwks_url is None:
        return None
    return JwksUrlOptions(
        issuer.jwks_url, issuer.algorithms, issuer.jwks_ca, refresh_s=issuer.refresh, keep_s=issuer.keep
    )


def read_files(identity: Identity) -> Files:
    """Read what `identity` names. Blocking; run it in a thread. Raises SettingsError."""
    try:
        return _read_files(identity)
    except SecretUnavailable as error:
        raise SettingsError([Problem("identity", 1, 1, "", str(error))]) from None


def identity_problems(identity: Identity) -> list[Problem]:
    """What is wrong in the files that `identity` names, key sets among them; for `gateway check`."""
    try:
        read_files(identity)
    except SettingsError as error:
        return error.problems
    return []


def _read_files(identity: Identity) -> Files:
    people = load_file(identity.users_file, UsersFile).users if identity.users_file is not None else ()
    passwords = load_file(identity.passwords.file, PasswordFile) if identity.passwords is not None else None
    api_keys, pepper = None, None
    if identity.api_keys is not None:
        if problems := api_key_problems(identity.api_keys.file, list(identity.api_keys.scopes)):
            raise SettingsError(problems)
        api_keys = load_file(identity.api_keys.file, ApiKeyFile)
        pepper = identity.api_keys.pepper.reveal() if identity.api_keys.pepper is not None else None
    keys = {entry.issuer: _local_keys(entry) for entry in identity.jwt if entry.jwks_url is None}
    return Files(people, passwords, api_keys, pepper, keys)


def _local_keys(issuer: JwtIssuer) -> KeySource:
    if issuer.secret is not None:
        return SharedSecret(issuer.secret.reveal().encode())
    assert issuer.jwks_file is not None
    return _key_file(issuer.jwks_file, issuer.algorithms)


def _key_file(path: Path, algorithms: tuple[str, ...]) -> KeySource:
    try:
        return parse_key_set(path.read_bytes(), algorithms)
    except (BadKeySet, OSError) as error:
        raise SettingsError([Problem(str(path), 1, 1, "", str(error))]) from None


def build_generation(
    identity: Identity,
    files: Files,
    pool: PasswordPool | None,
    url_keys: Mapping[str, KeySource],
    *,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Generation:
    """Put one version together. `url_keys` has the sources of issuers whose keys come from a URL."""
    sources = {**files.keys, **url_keys}
    issuers = {entry.issuer: (entry, sources[entry.issuer]) for entry in identity.jwt}
    users = files.passwords.users if files.passwords is not None else ()
    return Generation(
        identity,
        build_directory([users, files.people]),
        ImpersonationRules(identity.impersonation),
        _anonymous(identity),
        PasswordScheme(users, pool, clock) if pool is not None else None,
        _api_keys(identity, files, clock),
        JwtScheme(issuers, clock) if issuers else None,
        CertificateScheme(identity.certificates, clock) if identity.certificates is not None else None,
        Fingerprints(),
        Memory(REMEMBERED, monotonic),
        Memory(REMEMBERED, monotonic),
    )


def _api_keys(identity: Identity, files: Files, clock: Callable[[], float]) -> ApiKeyScheme | None:
    if identity.api_keys is None or files.api_keys is None:
        return None
    return ApiKeyScheme(files.api_keys.keys, identity.api_keys.scopes, files.pepper, clock)


def _anonymous(identity: Identity) -> Principal | None:
    if not identity.anonymous.enabled:
        return None
    return Principal(identity.anonymous.name, frozenset(identity.anonymous.groups), method="anonymous")
