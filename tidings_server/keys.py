"""The key of access tokens: all servers sign with the same private key, and check with its public one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tidings_server.settings import SettingsError


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """The private key that signs tokens, and the public keys that check them, by key id."""

    private: Ed25519PrivateKey
    key_id: str
    public: Mapping[str, Ed25519PublicKey]

    @classmethod
    def load(cls, path: Path, *, make: bool = False) -> Self:
        """Read a private key (Ed25519, PKCS 8 in PEM) from a file.

        Args:
            path: The file.
            make: Whether to make a key when there is no file.

        Raises:
            SettingsError: The file holds no such key, or cannot be read.
        """
        if make and not path.exists():
            write_private_key(path, Ed25519PrivateKey.generate())
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, TypeError) as error:
            raise SettingsError(f"{path} cannot be used: it is not a private key in PEM without a password") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SettingsError(f"{path} cannot be used: it is not an Ed25519 key")
        public = key.public_key()
        key_id = _key_id(public)
        return cls(key, key_id, {key_id: public})


def _key_id(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.blake2b(raw, digest_size=8).hexdigest()


def write_private_key(path: Path, key: Ed25519PrivateKey | EllipticCurvePrivateKey) -> None:
    """Write a private key (PKCS 8 in PEM) that nobody else may read.

    Raises:
        OSError: It cannot be written.
    """
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # The file appears whole or not at all: a crash in between must not leave half a key.
    partial = path.with_suffix(".new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
