"""TLS from a certificate and a key file, checked before anything listens."""

import ssl
from pathlib import Path

import structlog

from liqctl.errors import SettingsError

log = structlog.get_logger(__name__)

_MISMATCH = "KEY_VALUES_MISMATCH"


def tls_context(
    cert: Path | None, key: Path | None, *, public_host: str | None = None
) -> ssl.SSLContext | None:
    """Return the context of a server, TLS 1.2 at least; None when no file is named. It blocks.

    Where other machines can reach the server, none is worth a warning: tokens go in the clear.

    Raises:
        SettingsError: one of two files is missing, unreadable or of another kind, the key is
            encrypted, or it belongs to another certificate.
    """
    if cert is None and key is None:
        if public_host is not None:
            log.warning(
                "tokens_in_the_clear",
                host=public_host,
                remedy="name --tls-cert and --tls-key, or serve on 127.0.0.1 behind a TLS proxy",
            )
        return None
    if cert is None or key is None:
        raise SettingsError("--tls-cert and --tls-key belong together; name both files or neither")
    _check_kind(cert, "--tls-cert", b"-----BEGIN CERTIFICATE-----", "a certificate")
    content = _check_kind(key, "--tls-key", b"PRIVATE KEY-----", "a private key")
    if b"ENCRYPTED" in content:
        raise SettingsError(
            f"--tls-key {key} is encrypted, and nobody can be asked for its password;"
            " write it out with: openssl pkey -in FILE -out NEW"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except ssl.SSLError as error:
        if error.reason == _MISMATCH:
            raise SettingsError(
                f"--tls-key {key} does not belong to the certificate in --tls-cert {cert}"
            ) from error
        reason = (error.reason or "unknown").replace("_", " ").lower()
        raise SettingsError(
            f"--tls-cert {cert} and --tls-key {key} are no use: {reason}"
        ) from error
    return context


def _check_kind(path: Path, option: str, mark: bytes, what: str) -> bytes:
    """Return the content of a PEM file that holds what its option asks for."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{option} {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"the path of {option} has a zero byte") from error
    if mark not in content:
        raise SettingsError(f"{option} {path} does not hold {what} in PEM form")
    return content
