"""TLS of the API port, from files that may change while the server runs.

Each change makes a whole new context, so that the clients' certificate authorities are exchanged with the server's own
certificate. New connections take the new context; those that live keep theirs.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from reranker_runtime.errors import SettingsError
from reranker_runtime.settings import Settings

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: authenticated encryption and forward secrecy only. All of TLS 1.3's are such."""
CERT: Final = "NIM_TLS_CERT_PATH"
KEY: Final = "NIM_TLS_KEY_PATH"
CLIENT_CA: Final = "RERANKER_TLS_CLIENT_CA_PATH"
MOST_BYTES: Final = 8 << 20
"""Of one file."""


class Tls:
    """The context for new connections."""

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._context: ssl.SSLContext | None = None

    @classmethod
    def of(cls, settings: Settings) -> Tls | None:
        """None: plain HTTP."""
        if settings.tls_cert is None or settings.tls_key is None:
            return None
        return cls(settings.tls_cert, settings.tls_key, settings.tls_client_ca)

    @property
    def paths(self) -> tuple[Path, ...]:
        """What is read."""
        return tuple(path for path in (self._cert, self._key, self._client_ca) if path is not None)

    @property
    def context(self) -> ssl.SSLContext:
        if self._context is None:
            raise RuntimeError("load() comes first")
        return self._context

    def load(self) -> None:
        """Read the files; raises `SettingsError`, which leaves the context as it was."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_alpn_protocols(["http/1.1"])
        self._load_pair(context)
        if self._client_ca is not None:
            self._load_client_ca(context, self._client_ca)
        self._context = context

    def _load_pair(self, context: ssl.SSLContext) -> None:
        _check_pem(self._cert, CERT, b"CERTIFICATE-----", "a PEM certificate chain")
        _check_pem(self._key, KEY, b"PRIVATE KEY-----", "the certificate's PEM key, not encrypted")
        try:
            # Without a callback OpenSSL would ask for the password on the terminal, and wait.
            context.load_cert_chain(self._cert, self._key, password=self._refuse)
        except ssl.SSLError as error:
            pair = f"{CERT}={self._cert} with {KEY}={self._key}"
            if error.reason == "KEY_VALUES_MISMATCH":
                raise SettingsError(
                    f"{pair} cannot be used: the key is not the certificate's; give the PEM files that belong together"
                ) from error
            raise SettingsError(
                f"{pair} cannot be used: {_reason(error)}; give a PEM certificate chain, the server's own first, "
                "and its key"
            ) from error
        except OSError as error:
            raise SettingsError(f"{CERT}={self._cert} or {KEY}={self._key} vanished: {error.strerror}") from error

    def _refuse(self) -> str:
        raise SettingsError(
            f"{KEY}={self._key} is encrypted, and there is nobody to ask for its password: give the key not encrypted"
        )

    def _load_client_ca(self, context: ssl.SSLContext, path: Path) -> None:
        _check_pem(path, CLIENT_CA, b"CERTIFICATE-----", "PEM certificates")
        try:
            context.load_verify_locations(cafile=path)
        except (ssl.SSLError, OSError) as error:
            raise SettingsError(
                f"{CLIENT_CA}={path} cannot be used: {_reason(error)}; give PEM certificates"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED


def _check_pem(path: Path, variable: str, mark: bytes, wanted: str) -> None:
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{variable}={path} cannot be read: {error.strerror}; give {wanted}") from error
    if len(content) > MOST_BYTES or mark not in content:
        raise SettingsError(f"{variable}={path} is not PEM: give {wanted}")


def _reason(error: OSError) -> str:
    return (getattr(error, "reason", None) or error.strerror or str(error)).replace("_", " ").lower()
