"""Client certificate to user. The TLS layer has verified the chain; here only the name is read."""

from __future__ import annotations

import time
from collections.abc import Callable

from cryptography import x509
from cryptography.x509.oid import NameOID

from gateway.identity.http import MAX_USER
from gateway.identity.scheme import Rejected, Verified
from gateway.settings.sections.identity import Certificates


class CertificateScheme:
    """Reads the principal's name from one part of the certificate, which must be there exactly once."""

    method = "certificate"

    def __init__(self, settings: Certificates, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock

    def verify(self, der: bytes) -> Verified:
        """The principal, or raises Rejected."""
        try:
            certificate = x509.load_der_x509_certificate(der)
            names = _names(certificate, self._settings.user_from)
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            raise Rejected(f"the certificate cannot be read ({type(error).__name__})") from None
        if len(names) != 1:
            raise Rejected(
                f"the certificate has {len(names)} {self._settings.user_from} entries, expected one"
            )
        name = self._settings.user_prefix + names[0]
        if not names[0] or len(name) > MAX_USER or not name.isprintable():
            raise Rejected(f"the certificate's {self._settings.user_from} cannot be a user name")
        now, until = self._clock(), certificate.not_valid_after_utc.timestamp()
        # Checked again, because a connection may live longer than its certificate.
        if not certificate.not_valid_before_utc.timestamp() <= now < until:
            raise Rejected("the certificate is not valid now")
        return Verified(name, self.method, expires_at=until)


def _names(certificate: x509.Certificate, part: str) -> list[str]:
    if part == "common_name":
        return [str(entry.value) for entry in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    if part == "san_email":
        return names.get_values_for_type(x509.RFC822Name)
    if part == "san_dns":
        return names.get_values_for_type(x509.DNSName)
    return names.get_values_for_type(x509.UniformResourceIdentifier)
