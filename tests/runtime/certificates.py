"""Certificates made on the spot, as the files of a TLS Secret."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, and what it was signed by; None: by itself."""

    name: str
    signer: Pair | None
    certificate: x509.Certificate
    private: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, name: str, signer: Pair | None = None) -> Pair:
        private = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        issuer = signer.certificate.subject if signer else subject
        builder = (
            x509.CertificateBuilder(issuer, subject, private.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        )
        return cls(name, signer, builder.sign(signer.private if signer else private, hashes.SHA256()), private)

    @property
    def cert(self) -> bytes:
        return self.certificate.public_bytes(PEM)

    def key(self, password: bytes = b"") -> bytes:
        how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        return self.private.private_bytes(PEM, serialization.PrivateFormat.PKCS8, how)

    def put(self, directory: Path) -> tuple[Path, Path]:
        """Write both as the files of a TLS Secret, each swapped at once."""
        for name, content in (("tls.crt", self.cert), ("tls.key", self.key())):
            swap(directory / name, content)
        return directory / "tls.crt", directory / "tls.key"


def swap(path: Path, content: bytes) -> Path:
    path.with_suffix(".new").write_bytes(content)
    return path.with_suffix(".new").rename(path)
