"""TLS for listeners: contexts from files, and reload without dropping a connection."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

log = logging.getLogger(__name__)


class ClientCertificates(StrEnum):
    """Whether clients must show a certificate of the configured authorities."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


_VERIFY = {
    ClientCertificates.NONE: ssl.CERT_NONE,
    ClientCertificates.OPTIONAL: ssl.CERT_OPTIONAL,
    ClientCertificates.REQUIRED: ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where a listener's key material is. `client_ca` is needed unless client certificates are NONE."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    client_certificates: ClientCertificates = ClientCertificates.NONE
    oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """A context for TLS 1.2 (or `oldest`) and newer. Raises OSError or ssl.SSLError for unusable files, ValueError when
    client certificates are wanted without authorities to check them against."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = max(files.oldest, ssl.TLSVersion.TLSv1_2)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["http/1.1"])
    if files.client_certificates is not ClientCertificates.NONE:
        if files.client_ca is None:
            raise ValueError("client certificates need client_ca: the authorities that sign them")
        context.load_verify_locations(files.client_ca)
        context.verify_mode = _VERIFY[files.client_certificates]
    return context


class ReloadingTls:
    """The newest good context, to be given to `HttpServer.start(ssl=...)`; open connections keep theirs."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._context = server_context(files)

    def __call__(self) -> ssl.SSLContext:
        return self._context

    def reload(self, files: TlsFiles | None = None) -> None:
        """Read the files again (or new ones). On an error, which is raised, the old context stays."""
        wanted = files or self._files
        self._context = server_context(wanted)
        self._files = wanted
        log.info("TLS certificate reloaded from %s", wanted.certificate)
