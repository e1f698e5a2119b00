"""An issuer's keys from its URL: kept fresh in the background, never waited for while known ones do.

Down: known keys are believed for `keep_s` more; without any, log-ins say that they cannot be checked now.
Rotation: a token with an unknown key id makes one extra fetch, at most one every few seconds whoever asks.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import jwt

from gateway.core.tasks import Supervisor
from gateway.identity.keys import MAX_JWKS_BYTES, BadKeySet, KeySet, parse_key_set
from gateway.identity.scheme import TemporarilyUnavailable

log = logging.getLogger(__name__)

_UNKNOWN_KIDS = 1024


@dataclass(frozen=True, slots=True)
class JwksUrlOptions:
    """What identifies a source; equal options share one across reloads. Times in seconds."""

    url: str
    algorithms: tuple[str, ...]
    ca: Path | None = None
    refresh_s: float = 300.0
    keep_s: float = 86400.0
    timeout_s: float = 5.0
    refetch_every_s: float = 5.0
    """The shortest time between fetches that unknown key ids cause, and between retries without keys."""
    unknown_for_s: float = 30.0
    """How long an unknown key id stays unknown without asking again."""


class JwksUrl:
    """The keys behind one URL. `start` fetches in the background; `close` stops it."""

    def __init__(self, options: JwksUrlOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self.options = options
        self._clock = clock
        self._keys: KeySet | None = None
        self._fresh_at = 0.0
        self._tried_at: float | None = None
        self._asked_at: float | None = None
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._fetching: asyncio.Task[None] | None = None
        self._tasks = Supervisor(f"jwks {options.url}")
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to fetch and refresh. Call it once, in the running loop."""
        self._tasks.spawn(self._refresh(), "refresh")

    async def close(self) -> None:
        """Stop fetching and close connections."""
        self._closed = True
        await self._tasks.close()
        if self._session is not None:
            await self._session.close()

    @property
    def age_s(self) -> float | None:
        """Seconds since the keys were last fetched; None while there are none. For metrics."""
        return self._clock() - self._fresh_at if self._keys is not None else None

    async def candidates(self, algorithm: str, kid: str | None) -> Sequence[jwt.PyJWK | bytes]:
        """Keys for a token. Raises TemporarilyUnavailable while no keys are known."""
        keys = self._known()
        if keys is None:
            await self._fetch_once(self._tried_at)
            keys = self._known()
        if keys is None:
            raise TemporarilyUnavailable(
                "The keys of the token's issuer cannot be fetched now; try again",
                retry_after=self.options.refetch_every_s,
            )
        if kid is not None and not keys.has(kid) and self._may_ask(kid):
            await self._fetch_once(None)
            keys = self._known() or keys
            if not keys.has(kid):
                self._remember_unknown(kid)
        return keys.matching(algorithm, kid)

    def _known(self) -> KeySet | None:
        if self._keys is not None and self._clock() - self._fresh_at > self.options.keep_s:
            return None
        return self._keys

    def _may_ask(self, kid: str) -> bool:
        """Whether an unknown key id is worth a fetch now: a flood of made-up ids is not."""
        now = self._clock()
        if now - self._unknown.get(kid, -self.options.unknown_for_s) < self.options.unknown_for_s:
            return False
        if self._fetching is not None:
            return True
        if self._asked_at is not None and now - self._asked_at < self.options.refetch_every_s:
            return False
        self._asked_at = now
        return True

    def _remember_unknown(self, kid: str) -> None:
        self._unknown[kid] = self._clock()
        while len(self._unknown) > _UNKNOWN_KIDS:
            self._unknown.popitem(last=False)

    async def _fetch_once(self, tried_at: float | None) -> None:
        """Join the fetch under way, or start one unless one was tried a moment ago. Bounded by the time-out."""
        if self._closed:
            return
        if self._fetching is None:
            if tried_at is not None and self._clock() - tried_at < self.options.refetch_every_s:
                return
            self._fetching = self._tasks.spawn(self._fetch(), "fetch")
        # wait(), because a waiter that is cancelled must not cancel the fetch of the others.
        await asyncio.wait({self._fetching}, timeout=self.options.timeout_s + 1)

    async def _refresh(self) -> None:
        failures = 0
        while True:
            before = self._fresh_at
            await self._fetch_once(None)
            failures = 0 if self._fresh_at != before else failures + 1
            pause = self.options.refresh_s if not failures else min(self.options.refresh_s, 2.0**failures)
            await asyncio.sleep(pause * random.uniform(0.9, 1.1))

    async def _fetch(self) -> None:
        self._tried_at = self._clock()
        try:
            async with asyncio.timeout(self.options.timeout_s):
                raw = await self._get()
            self._keys, self._fresh_at = parse_key_set(raw, self.options.algorithms), self._clock()
        except (aiohttp.ClientError, TimeoutError, OSError, BadKeySet) as error:
            kept = "known keys are kept" if self._known() is not None else "no keys are known"
            log.warning("cannot fetch keys from %s (%s); %s", self.options.url, _words(error), kept)
        finally:
            self._fetching = None

    async def _get(self) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=2, ssl=self._tls()),
                timeout=aiohttp.ClientTimeout(total=self.options.timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            )
        async with self._session.get(self.options.url, allow_redirects=False) as response:
            if response.status != 200:
                raise BadKeySet(f"it answered {response.status}")
            raw = bytearray()
            async for chunk in response.content.iter_chunked(16 * 1024):
                raw += chunk
                if len(raw) > MAX_JWKS_BYTES:
                    raise BadKeySet(f"the answer is larger than {MAX_JWKS_BYTES} bytes")
            return bytes(raw)

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(
            cafile=str(self.options.ca) if self.options.ca is not None else None
        )


def _words(error: Exception) -> str:
    return (
        "no answer within the time-out"
        if isinstance(error, TimeoutError)
        else str(error) or type(error).__name__
    )
