"""A certificate of an authority that was made up a moment ago, as each server wants it."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from tls.certificates import Authority


def certify(directory: Path) -> None:
    """Writes ca.pem, server.crt, server.key, and the key as PKCS #8, server.pk8."""
    Authority(directory).issue("server", "localhost", "127.0.0.1")
    key = serialization.load_pem_private_key((directory / "server.key").read_bytes(), None)
    (directory / "server.pk8").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
