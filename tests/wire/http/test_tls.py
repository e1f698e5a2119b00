"""TLS listeners: versions, client certificates, reload, and TLS behind a PROXY header."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.wire.http.client import ConnectFailed, PoolLimits, UpstreamPool
from gateway.wire.http.message import Request
from gateway.wire.http.responder import Responder
from gateway.wire.http.server import HttpServer, ServerLimits
from gateway.wire.http.tls import ClientCertificates, ReloadingTls, TlsFiles
from tests.wire.http.raw import RawClient, Stage, eventually

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Authority:
    """A throw-away certificate authority."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key.public_key(), is_ca=True)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, is_ca: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        names: list[x509.GeneralName] = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key.public_key(), is_ca=False)
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return paths

    def client_context(self, identity: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.path))
        if identity is not None:
            context.load_cert_chain(*identity)
        return context


async def whoami(request: Request, responder: Responder) -> None:
    peer = request.peer
    subject = peer.client_cert["subject"] if peer.client_cert else None
    await responder.send(
        200, [], f"{peer.tls} {subject} {len(peer.client_cert_der or b'') > 100} {peer.host}".encode()
    )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


async def listen(stage: Stage, tls: ReloadingTls, *, proxied: bool = False) -> HttpServer:
    server = HttpServer(whoami, ServerLimits(), "tls")
    stage.adopt(server)
    trusted = [ipaddress.ip_network("127.0.0.0/8")] if proxied else []
    stage.port = await server.start("127.0.0.1", 0, ssl=tls, proxy_protocol_from=trusted)
    return server


async def talk(stage: Stage, context: ssl.SSLContext) -> RawClient:
    return await stage.connect(ssl=context, server_hostname="localhost")


def shown(client: RawClient) -> str:
    certificate = client.writer.get_extra_info("peercert")
    return str(dict(pair[0] for pair in certificate["subject"])["commonName"])


async def test_requests_and_keep_alive(stage: Stage, authority: Authority) -> None:
    await listen(stage, ReloadingTls(TlsFiles(*authority.issue("one"))))
    client = await talk(stage, authority.client_context())
    for _ in range(3):
        client.send(GET)
        assert (await client.answer())[2] == b"True None False 127.0.0.1"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_old_versions_are_refused(stage: Stage, authority: Authority) -> None:
    await listen(stage, ReloadingTls(TlsFiles(*authority.issue("one"))))
    context = authority.client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await talk(stage, context)


async def test_plain_text_to_a_tls_port(stage: Stage, authority: Authority) -> None:
    server = await listen(stage, ReloadingTls(TlsFiles(*authority.issue("one"))))
    client = await stage.connect()
    client.send(GET)
    assert b"HTTP/1.1 200" not in await client.rest()
    assert server.connections == 0


async def test_reload_changes_new_connections_and_keeps_old_ones(stage: Stage, authority: Authority) -> None:
    tls = ReloadingTls(TlsFiles(*authority.issue("one")))
    await listen(stage, tls)
    old = await talk(stage, authority.client_context())
    assert shown(old) == "one"
    tls.reload(TlsFiles(*authority.issue("two")))
    new = await talk(stage, authority.client_context())
    assert shown(new) == "two"
    for client in (old, new):
        client.send(GET)
        assert (await client.answer())[0] == 200


async def test_a_bad_reload_keeps_the_last_good(stage: Stage, authority: Authority, tmp_path: Path) -> None:
    files = TlsFiles(*authority.issue("one"))
    tls = ReloadingTls(files)
    await listen(stage, tls)
    good = files.certificate.read_bytes()
    files.certificate.write_bytes(b"not a certificate")
    with pytest.raises(ssl.SSLError):
        tls.reload()
    other = authority.issue("other")
    with pytest.raises(ssl.SSLError):
        tls.reload(TlsFiles(other[0], files.key))
    with pytest.raises(OSError):
        tls.reload(TlsFiles(tmp_path / "absent", files.key))
    with pytest.raises(ValueError, match="client_ca"):
        tls.reload(TlsFiles(*other, client_certificates=ClientCertificates.REQUIRED))
    assert shown(await talk(stage, authority.client_context())) == "one"
    files.certificate.write_bytes(good)
    tls.reload()
    assert shown(await talk(stage, authority.client_context())) == "one"


@pytest.mark.parametrize("wanted", [ClientCertificates.OPTIONAL, ClientCertificates.REQUIRED])
async def test_client_certificates(
    stage: Stage, authority: Authority, tmp_path: Path, wanted: ClientCertificates
) -> None:
    files = TlsFiles(*authority.issue("one"), client_ca=authority.path, client_certificates=wanted)
    await listen(stage, ReloadingTls(files))
    client = await talk(stage, authority.client_context(authority.issue("alice")))
    client.send(GET)
    assert (await client.answer())[2] == b"True ((('commonName', 'alice'),),) True 127.0.0.1"

    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "stranger").issue("mallory")
    for identity in (stranger, None):
        accepted = False
        try:
            client = await talk(stage, authority.client_context(identity))
            client.send(GET)
            accepted = (await client.answer())[2] == b"True None False 127.0.0.1"
        except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
            pass
        assert accepted == (identity is None and wanted is ClientCertificates.OPTIONAL)


async def test_tls_behind_a_proxy_header(stage: Stage, authority: Authority) -> None:
    await listen(stage, ReloadingTls(TlsFiles(*authority.issue("one"))), proxied=True)
    client = await stage.connect()
    # Corked, header and ClientHello arrive together: not a byte of the second may be lost.
    client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    client.send(b"PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n")
    await client.writer.start_tls(authority.client_context(), server_hostname="localhost")
    client.send(GET)
    assert (await client.answer())[2] == b"True None False 1.2.3.4"


async def test_leaving_is_noticed_through_tls(stage: Stage, authority: Authority) -> None:
    started = asyncio.Event()
    gone = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        responder.on_disconnect(gone.set)
        started.set()
        await responder.wait_disconnected()

    server = HttpServer(handler, ServerLimits(), "tls")
    stage.adopt(server)
    stage.port = await server.start("127.0.0.1", 0, ssl=ReloadingTls(TlsFiles(*authority.issue("one"))))
    client = await talk(stage, authority.client_context())
    client.send(GET)
    await started.wait()
    client.close()
    async with asyncio.timeout(1):
        await gone.wait()
    await eventually(lambda: not server.connections and not server.running)


async def test_big_bodies_both_ways_through_tls(stage: Stage, authority: Authority) -> None:
    async def mirror(request: Request, responder: Responder) -> None:
        await responder.start(200, [])
        async for chunk in request.body:
            await responder.write(chunk)
        await responder.end()

    server = HttpServer(mirror, ServerLimits(), "tls")
    stage.adopt(server)
    port = await server.start("127.0.0.1", 0, ssl=ReloadingTls(TlsFiles(*authority.issue("one"))))
    pool = UpstreamPool("localhost", port, authority.client_context(), PoolLimits())
    stage.adopt(pool)
    sent = bytes(range(256)) * 20_000
    for _ in range(2):
        response = await pool.request("POST", "/", [], sent, head_timeout_s=5.0)
        assert await response.read(len(sent)) == sent


async def test_the_pool_checks_certificates(stage: Stage, authority: Authority, tmp_path: Path) -> None:
    await listen(stage, ReloadingTls(TlsFiles(*authority.issue("one"))))
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "stranger")
    pool = UpstreamPool("127.0.0.1", stage.port, stranger.client_context(), PoolLimits())
    stage.adopt(pool)
    with pytest.raises(ConnectFailed):
        await pool.request("GET", "/", [], head_timeout_s=2.0)
