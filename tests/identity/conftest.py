"""Real keys, real tokens, a real key server; clocks that tests can move."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.identity.authenticator import IdentityService
from gateway.identity.events import LogInEvent
from gateway.settings.document import must_read
from gateway.settings.sections.identity import Identity

ISSUER, AUDIENCE = "https://login.example.com/", "gateway"
SECRET = "an-only-test-secret-of-more-than-sixty-four-bytes-as-HS512-asks-for-it"


@dataclass(frozen=True)
class Signer:
    """A key pair with its public JWK."""

    private: Any
    algorithm: str
    kid: str

    @property
    def jwk(self) -> dict[str, Any]:
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        public = algorithm.to_jwk(self.private.public_key(), as_dict=True)
        public.pop("key_ops", None)
        return {**public, "kid": self.kid, "use": "sig"}

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(  # type: ignore[no-any-return]
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def token(
        self, headers: dict[str, Any] | None = None, algorithm: str | None = None, **claims: Any
    ) -> str:
        merged = {"kid": self.kid, **(headers or {})}
        return jwt.encode(
            default_claims(**claims),
            self.private,
            algorithm or self.algorithm,
            headers={key: value for key, value in merged.items() if value is not None},
        )


def default_claims(**changes: Any) -> dict[str, Any]:
    """Claims that are accepted, changed as asked; None leaves a claim out."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 300, **changes}
    return {name: value for name, value in claims.items() if value is not None}


def raw_token(header: Any, payload: Any, signature: bytes = b"x") -> str:
    """A token of any parts: bytes as they are, other values as JSON."""

    def part(value: Any) -> str:
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    return f"{part(header)}.{part(payload)}.{part(signature)}"


@pytest.fixture(scope="session")
def rsa_signer() -> Signer:
    return Signer(rsa.generate_private_key(65537, 2048), "RS256", "rsa-1")


@pytest.fixture(scope="session")
def other_rsa() -> Signer:
    return Signer(rsa.generate_private_key(65537, 2048), "RS256", "rsa-2")


@pytest.fixture(scope="session")
def ec_signer() -> Signer:
    return Signer(ec.generate_private_key(ec.SECP256R1()), "ES256", "ec-1")


@pytest.fixture(scope="session")
def ed_signer() -> Signer:
    return Signer(ed25519.Ed25519PrivateKey.generate(), "EdDSA", "ed-1")


class Clock:
    """Time that a test moves. Starts at the real one, because tokens are made with that."""

    def __init__(self) -> None:
        self.offset = 0.0

    def wall(self) -> float:
        return time.time() + self.offset

    def monotonic(self) -> float:
        return time.monotonic() + self.offset

    def pass_by(self, seconds: float) -> None:
        self.offset += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@dataclass
class Door:
    """A service under test and what it reported."""

    service: IdentityService
    directory: Path
    events: list[LogInEvent] = field(default_factory=list)

    def identity(self, yaml: str) -> Identity:
        path = self.directory / "identity.yaml"
        path.write_text(yaml)
        return Identity.model_validate(must_read(path).data, context={"base": self.directory})

    async def configure(self, yaml: str) -> None:
        await self.service.reload(self.identity(yaml))

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def reasons(self) -> list[str]:
        return [event.reason for event in self.events if event.reason]


@pytest.fixture
async def door(tmp_path: Path, clock: Clock) -> AsyncIterator[Door]:
    events: list[LogInEvent] = []
    service = IdentityService(events.append, clock=clock.wall, monotonic=clock.monotonic)
    yield Door(service, tmp_path, events)
    await service.close()


class KeyServer:
    """Serves a JSON Web Key Set over HTTP; can hang, lie, rotate and count."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.requests = 0
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self.hang = asyncio.Event()
        self.asked = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, port: int = 0) -> None:
        application = web.Application()
        application.router.add_get("/{any:.*}", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/jwks.json"

    async def until(self, requests: int) -> None:
        """Wait until it was asked so often."""
        while self.requests < requests:
            self.asked.clear()
            await self.asked.wait()

    async def stop(self) -> None:
        self.hang.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.asked.set()
        if self.answer is not None:
            return await self.answer(request)
        return web.json_response({"keys": self.keys})


@pytest.fixture
async def key_server(rsa_signer: Signer) -> AsyncIterator[KeyServer]:
    server = KeyServer()
    server.keys = [rsa_signer.jwk]
    await server.start()
    yield server
    await server.stop()
