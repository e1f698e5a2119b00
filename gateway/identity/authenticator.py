"""The one door: any credentials to a principal, or a refusal that says nothing about which part was wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from gateway.core.principal import Principal
from gateway.identity.api_keys import looks_like_key
from gateway.identity.contract import AuthenticationFailed, Credentials, ImpersonationDenied
from gateway.identity.directory import merge_attributes
from gateway.identity.events import LogIn, LogInEvent, OnLogIn, nobody_listens
from gateway.identity.generation import Files, Generation, build_generation, read_files, url_options
from gateway.identity.http import MAX_PASSWORD, CredentialsRefused
from gateway.identity.jwks_url import JwksUrl, JwksUrlOptions
from gateway.identity.passwords import PasswordPool
from gateway.identity.scheme import Rejected, TemporarilyUnavailable, Verified
from gateway.identity.throttle import Attempt, Throttle
from gateway.settings.sections.identity import Identity, LoginRate, Passwords


class IdentityService:
    """The gateway's Authenticator. Lives as long as the process; `reload` swaps what it knows, whole or not at all.

    What outlives a reload: the throttle, the threads that hash, and keys fetched from URLs that stay the same
    (a reload while an issuer is down loses nothing). What does not: everything remembered.
    """

    def __init__(
        self,
        on_log_in: OnLogIn = nobody_listens,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_log_in = on_log_in
        self._clock, self._monotonic = clock, monotonic
        self._now: Generation = build_generation(
            Identity(), Files(), None, {}, clock=clock, monotonic=monotonic
        )
        self._throttle = self._new_throttle(LoginRate())
        self._pool: PasswordPool | None = None
        self._sources: dict[JwksUrlOptions, JwksUrl] = {}
        self._reloading = asyncio.Lock()

    # -- the contract that wires use

    def remembered(self, credentials: Credentials) -> Principal | None:
        """The principal of credentials verified a moment ago. No I/O, a few microseconds."""
        now = self._now
        return now.principals.recall(now.fingerprints.of(credentials))

    async def authenticate(self, credentials: Credentials) -> Principal:
        """The principal. Raises AuthenticationFailed, ImpersonationDenied; counted and reported to `on_log_in`."""
        now = self._now
        whole = now.fingerprints.of(credentials)
        if (known := now.principals.recall(whole)) is not None:
            return known
        if now.certificates is None and credentials.certificate is not None:
            # Only the connection asked for it; it proves nobody's name here.
            credentials = replace(credentials, certificate=None)
        offered = sum(
            x is not None for x in (credentials.password, credentials.token, credentials.certificate)
        )
        if offered > 1:
            raise CredentialsRefused("Several kinds of credentials at once; send one")
        if not offered:
            return self._anonymous(now, credentials)
        verified = await self._verified(now, credentials)
        principal = self._principal(now, credentials, verified)
        now.principals.keep(whole, principal, self._keep_s(now, verified))
        return principal

    # -- life

    async def reload(self, identity: Identity) -> None:
        """Take up new settings and the files they name. Raises SettingsError; then nothing has changed."""
        async with self._reloading:
            files = await asyncio.to_thread(read_files, identity)
            pool = self._pool_for(identity.passwords)
            sources = {
                options: self._sources.get(options) or JwksUrl(options, self._monotonic)
                for entry in identity.jwt
                if (options := url_options(entry)) is not None
            }
            url_keys = {e.issuer: sources[o] for e in identity.jwt if (o := url_options(e)) is not None}
            generation = await asyncio.to_thread(
                build_generation,
                identity,
                files,
                pool,
                url_keys,
                clock=self._clock,
                monotonic=self._monotonic,
            )
            await self._swap(generation, pool, sources)

    async def close(self) -> None:
        """Stop the threads and the fetching of keys."""
        async with self._reloading:
            if self._pool is not None:
                self._pool.close()
            for source in self._sources.values():
                await source.close()

    async def _swap(
        self, generation: Generation, pool: PasswordPool | None, sources: dict[JwksUrlOptions, JwksUrl]
    ) -> None:
        old_pool, old_sources, old_rate = self._pool, self._sources, self._now.settings.login_rate
        self._now, self._pool, self._sources = generation, pool, sources
        if generation.settings.login_rate != old_rate:
            self._throttle = self._new_throttle(generation.settings.login_rate)
        for options, source in sources.items():
            if options not in old_sources:
                source.start()
        if old_pool is not None and old_pool is not pool:
            old_pool.retire()
        for options, source in old_sources.items():
            if options not in sources:
                await source.close()

    def _pool_for(self, passwords: Passwords | None) -> PasswordPool | None:
        if passwords is None:
            return None
        if self._pool is not None and self._pool.shape == (passwords.threads, passwords.queue):
            return self._pool
        return PasswordPool(passwords.threads, passwords.queue)

    def _new_throttle(self, rate: LoginRate) -> Throttle:
        return Throttle(
            attempts=rate.attempts,
            per_s=rate.per,
            lockout_s=rate.lockout,
            network_attempts=rate.network_attempts,
            clock=self._monotonic,
        )

    # -- one log-in

    def _anonymous(self, now: Generation, credentials: Credentials) -> Principal:
        """Without a proof. A claimed user name is not believed, unless a rule lets anonymous take it."""
        if now.anonymous is None:
            raise AuthenticationFailed("Authentication is required")
        name, target = now.anonymous.name, credentials.act_as
        if target in (None, name) or not now.impersonation.allow(name, now.anonymous.groups, target or ""):
            return now.anonymous
        return self._acting(now, Verified(name, "anonymous", now.anonymous.groups), target or "")

    async def _verified(self, now: Generation, credentials: Credentials) -> Verified:
        """The proof's owner; equal proofs that arrive together are verified once."""
        key = now.fingerprints.of_proof(credentials)
        while True:
            if (known := now.proofs.recall(key)) is not None:
                return known
            under_way = now.under_way.get(key)
            if under_way is None:
                break
            # wait(), because a waiter that is cancelled must not cancel the one who does the work.
            await asyncio.wait({under_way})
            if not under_way.cancelled():
                outcome = under_way.result()
                if isinstance(outcome, Verified):
                    return outcome
                raise type(outcome)(str(outcome), outcome.retry_after)
        ours: asyncio.Future[Verified | AuthenticationFailed] = asyncio.get_running_loop().create_future()
        now.under_way[key] = ours
        try:
            verified = await self._check(now, credentials)
        except AuthenticationFailed as failure:
            ours.set_result(failure)
            raise
        else:
            ours.set_result(verified)
            now.proofs.keep(key, verified, self._keep_s(now, verified))
            return verified
        finally:
            del now.under_way[key]
            ours.cancel()

    async def _check(self, now: Generation, credentials: Credentials) -> Verified:
        """Throttle, verify, report. What can be guessed waits before it is looked at, tokens after they failed."""
        method, throttle = _method(now, credentials), self._throttle
        guess = throttle.begin(credentials.user or "", credentials.peer) if method == "password" else None
        if guess is not None and guess.wait_s:
            raise self._held_up(guess, method, credentials)
        try:
            verified = await _verify(now, method, credentials)
            if now.directory.of(verified.name).disabled:
                raise Rejected(f"disabled user {verified.name}")
        except Rejected as rejected:
            raise self._failed(throttle, guess, method, credentials, str(rejected)) from None
        except (TemporarilyUnavailable, asyncio.CancelledError) as unknown:
            if guess is not None:
                throttle.unknown(guess)
            if isinstance(unknown, TemporarilyUnavailable):
                self._tell(LogIn.UNAVAILABLE, method, credentials.user, credentials, str(unknown))
            raise
        if guess is not None:
            throttle.succeeded(guess)
        self._tell(LogIn.SUCCEEDED, method, verified.name, credentials)
        return verified

    def _failed(
        self, throttle: Throttle, guess: Attempt | None, method: str, credentials: Credentials, reason: str
    ) -> AuthenticationFailed:
        """Count and report it, unless too many failed already: then only the first one is reported."""
        attempt = guess or throttle.begin(None, credentials.peer)
        if attempt.wait_s:
            return self._held_up(attempt, method, credentials)
        throttle.failed(attempt)
        self._tell(LogIn.FAILED, method, credentials.user, credentials, reason)
        return AuthenticationFailed()

    def _held_up(self, attempt: Attempt, method: str, credentials: Credentials) -> AuthenticationFailed:
        if attempt.first_refusal:
            self._tell(LogIn.THROTTLED, method, credentials.user, credentials)
        return AuthenticationFailed("Too many failed log-ins; try again later", retry_after=attempt.wait_s)

    def _principal(self, now: Generation, credentials: Credentials, verified: Verified) -> Principal:
        target = credentials.act_as
        if target is None or target == verified.name:
            entry = now.directory.of(verified.name)
            groups = verified.groups if verified.only_these_groups else verified.groups | entry.groups
            attributes = merge_attributes(verified.attributes, entry.attributes)
            return Principal(verified.name, groups, attributes, verified.method, None, verified.expires_at)
        groups = verified.groups | now.directory.of(verified.name).groups
        # A key restricted to scopes would shed them by acting as somebody else.
        allowed = not verified.only_these_groups and now.impersonation.allow(verified.name, groups, target)
        if not allowed or now.directory.of(target).disabled:
            self._tell(LogIn.IMPERSONATION_DENIED, verified.method, verified.name, credentials)
            raise ImpersonationDenied(f"Access Denied: User {verified.name} cannot impersonate user {target}")
        return self._acting(now, verified, target)

    def _acting(self, now: Generation, verified: Verified, target: str) -> Principal:
        """The target with its own groups and attributes from the files; nothing of the proof's owner but its name."""
        entry = now.directory.of(target)
        return Principal(
            target, entry.groups, entry.attributes, verified.method, verified.name, verified.expires_at
        )

    def _keep_s(self, now: Generation, verified: Verified) -> float:
        if verified.expires_at is None:
            return now.settings.remember
        return min(now.settings.remember, verified.expires_at - self._clock())

    def _tell(
        self, outcome: LogIn, method: str, user: str | None, credentials: Credentials, reason: str = ""
    ) -> None:
        self._on_log_in(LogInEvent(outcome, method, user, credentials.peer, reason, credentials.act_as))


def _method(now: Generation, credentials: Credentials) -> str:
    if credentials.certificate is not None:
        return "certificate"
    secret = credentials.token if credentials.token is not None else credentials.password
    if now.api_keys is not None and looks_like_key(secret):
        return "api_key"
    return "jwt" if credentials.token is not None else "password"


async def _verify(now: Generation, method: str, credentials: Credentials) -> Verified:
    if method == "certificate" and now.certificates is not None and credentials.certificate is not None:
        return now.certificates.verify(credentials.certificate)
    if method == "api_key" and now.api_keys is not None:
        return now.api_keys.verify(credentials.token or credentials.password or "", credentials.user)
    if method == "jwt" and now.tokens is not None and credentials.token is not None:
        return await now.tokens.verify(credentials.token)
    if method == "password" and now.passwords is not None:
        return await _by_password(now, credentials)
    raise Rejected(f"log-in by {method} is not configured")


async def _by_password(now: Generation, credentials: Credentials) -> Verified:
    password = credentials.password or ""
    if now.passwords is None or not credentials.user or not password or len(password) > MAX_PASSWORD:
        raise Rejected("no user, no password, or too long a password")
    return await now.passwords.verify(credentials.user, password)
