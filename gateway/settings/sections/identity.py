"""Who may come in, and as whom."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from gateway.settings.kinds import (
    Duration,
    ExistingFile,
    Items,
    NonEmpty,
    SecretRef,
    Section,
    Shorthand,
    Some,
    is_loopback,
    web_url,
    wrong,
)

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512",
)  # fmt: skip
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512",
]  # fmt: skip


class Anonymous(Section):
    """Requests without credentials."""

    enabled: bool = False
    """Whether they are let in at all."""
    name: NonEmpty = "anonymous"
    """The principal that they become. The user name such a request claims is not believed."""
    groups: Items[NonEmpty] = ()
    """Its groups."""


class Passwords(Section):
    """Users with a password (Trino Basic; ClickHouse headers, Basic or URL)."""

    file: ExistingFile
    """YAML with `users: [{name, password: <argon2id hash>, groups, attributes, disabled, expires}]`."""
    threads: Annotated[int, Field(ge=1, le=64)] = 2
    """Hashes computed at a time; each takes the memory that its hash names (64 MiB by default)."""
    queue: Annotated[int, Field(ge=0, le=10_000)] = 64
    """Log-ins that may wait for a thread; more are told to come back."""


class ApiKeys(Section):
    """Keys for programs, sent as a bearer token or in place of a password."""

    file: ExistingFile
    """YAML with `keys: [{id, hash, user, groups, scopes, expires, disabled}]`."""
    pepper: SecretRef | None = None
    """A secret mixed into the hashes, so that the file alone cannot be used to test keys."""
    scopes: dict[NonEmpty, Items[NonEmpty]] = Field(default_factory=dict)
    """Scope to groups. A key with scopes has exactly the groups of its scopes, never its user's."""


_TEXT = Shorthand(type="string")


def _claim_path(value: Any) -> Any:
    if isinstance(value, str):
        return (value,) if "://" in value else tuple(value.split("."))
    return value


ClaimPath = Annotated[Some[NonEmpty], BeforeValidator(_claim_path), Field(max_length=8), _TEXT]
"""`realm_access.roles`, or a list where a name itself holds dots; a URL is one name."""


def _safe_key_url(url: str) -> str:
    parts = urlsplit(web_url(url))
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise wrong("expected https (plain http only for localhost): whoever changes the keys is anyone")
    return url


def _value_or_values(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class JwtIssuer(Section):
    """One issuer of tokens. A token is judged by the entry with exactly its `iss`, and by no other."""

    issuer: NonEmpty
    """Must equal the token's `iss`."""
    audience: Annotated[Some[NonEmpty], BeforeValidator(_value_or_values), _TEXT]
    """The token's `aud` must hold one of these."""
    algorithms: Some[Algorithm] = ("RS256", "ES256", "EdDSA")
    """Signature algorithms that are believed; never taken from the token."""
    jwks_file: ExistingFile | None = None
    """A file with the issuer's public keys (JSON Web Key Set)."""
    jwks_url: Annotated[str, AfterValidator(_safe_key_url)] | None = None
    """The URL of its public keys; https, or http on localhost. Redirects are not followed."""
    jwks_ca: ExistingFile | None = None
    """PEM file with the authorities to believe for jwks_url; null takes the system's."""
    secret: SecretRef | None = None
    """The shared secret of HS256/384/512."""
    leeway: Annotated[Duration, Field(ge=0, le=600)] = 30.0
    """How far its clock may differ from ours."""
    require_expiry: bool = True
    """Whether a token without `exp` is refused."""
    max_age: Duration | None = None
    """Refuse tokens whose `iat` is older than this; null has no such limit."""
    types: Items[NonEmpty] = ("JWT", "at+jwt")
    """Values of the header `typ` that are accepted, upper or lower case; a token without it is accepted."""
    user_claim: ClaimPath = ("sub",)
    """Where the principal's name is."""
    user_prefix: str = ""
    """Put before the name, so that two issuers cannot mint each other's users."""
    groups_claim: ClaimPath | None = None
    """Where its groups are: a list of names, or one name."""
    groups_prefix: str = ""
    """Put before each of its groups, so that a partner's issuer cannot put its users into yours."""
    attributes: dict[NonEmpty, ClaimPath] = Field(default_factory=dict)
    """Attribute to the claim it comes from; text or lists of text."""
    required_claims: dict[NonEmpty, Annotated[Items[NonEmpty], BeforeValidator(_value_or_values), _TEXT]] = (
        Field(default_factory=dict)
    )
    """Claims that must have (or, for lists, hold) one of the given values. Names with dots are paths."""
    refresh: Annotated[Duration, Field(ge=1, le=86400)] = 300.0
    """jwks_url: time between looks at the keys."""
    keep: Annotated[Duration, Field(ge=1, le=30 * 86400)] = 86400.0
    """jwks_url: how long known keys are still believed while the URL does not answer."""

    @model_validator(mode="after")
    def _keys_fit_algorithms(self) -> Self:
        sources = [n for n in ("jwks_file", "jwks_url", "secret") if getattr(self, n) is not None]
        if len(sources) != 1:
            raise wrong(f"expected exactly one of jwks_file, jwks_url and secret, found {len(sources)}")
        shared = [name for name in self.algorithms if name.startswith("HS")]
        if self.secret is None and shared:
            raise wrong(
                f"{shared[0]} needs a shared secret; with public keys it would be a forgery", "algorithms"
            )
        if self.secret is not None:
            if len(shared) < len(self.algorithms):
                raise wrong("with a shared secret only HS256, HS384 and HS512 make sense", "algorithms")
            _check_shared_secret(self.secret.reveal(), max(int(name[2:]) // 8 for name in shared))
        return self


def _check_shared_secret(secret: str, minimum: int) -> None:
    # RFC 7518 section 3.2: a key at least as long as the hash. A public key here is the classic confusion.
    if "-----BEGIN" in secret or secret.startswith(("ssh-", "ecdsa-")):
        raise wrong("is a key pair's key; HS256 needs a random secret, RS256 and ES256 a jwks_file", "secret")
    if len(secret.encode()) < minimum:
        raise wrong(f"is shorter than the {minimum} bytes that its algorithm needs", "secret")


class Certificates(Section):
    """Client certificates, on listeners with `tls.client_ca`."""

    user_from: Literal["common_name", "san_email", "san_dns", "san_uri"] = "common_name"
    """The part of the certificate that is the principal's name; it must be there exactly once."""
    user_prefix: str = ""
    """Put before the name."""


class Impersonation(Section):
    """Who may act as whom (`X-Trino-User` beside a log-in)."""

    who: Items[NonEmpty] = ()
    """The names that log in."""
    groups: Items[NonEmpty] = ()
    """Or members of one of these groups."""
    may_act_as: Some[NonEmpty]
    """Names that they may take; `*` and `?` match as in file names."""

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.who and not self.groups:
            raise wrong("expected who, groups or both")
        return self


class LoginRate(Section):
    """Guessing is slowed down per user and network of the peer (/24, /64)."""

    attempts: Annotated[int, Field(ge=1, le=1000)] = 5
    """Failed log-ins of one user from one network within `per` before a lock-out."""
    per: Annotated[Duration, Field(ge=1, le=86400)] = 60.0
    """The time over which failures are counted."""
    lockout: Annotated[Duration, Field(ge=1, le=86400)] = 60.0
    """How long further attempts are refused, right or wrong."""
    network_attempts: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Failures of one network, whatever the user, within `per`. Users known there are not held up by it."""


class Identity(Section):
    """Authentication. A client's credentials stop here; engines get the gateway's own."""

    anonymous: Anonymous = Anonymous()
    """Requests without credentials."""
    passwords: Passwords | None = None
    """A file of users with passwords."""
    api_keys: ApiKeys | None = None
    """A file of API keys."""
    jwt: Items[JwtIssuer] = ()
    """Issuers of bearer tokens."""
    certificates: Certificates | None = None
    """Client certificates."""
    users_file: ExistingFile | None = None
    """YAML with `users: [{name, groups, attributes, disabled}]`: what is known of a name."""
    impersonation: Items[Impersonation] = ()
    """Who may act as whom; nobody by default."""
    login_rate: LoginRate = LoginRate()
    """The brake on guessing."""
    remember: Annotated[Duration, Field(ge=0, le=60)] = 60.0
    """How long verified credentials need no second check (at most 60s; 0 checks each request)."""
