"""The key that access tokens are signed with: made at the first start, kept in the data folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tidings.node.settings import SettingsError

_NAME = "token-key.pem"


def signing_key(folder: Path) -> Ed25519PrivateKey:
    """The private key of a data folder.

    Raises:
        SettingsError: The file in the folder is no such key.
    """
    path = folder / _NAME
    if not path.exists():
        _write(path, Ed25519PrivateKey.generate())
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be used: it is not a private key in PEM ({error})") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{path} cannot be used: it is not an Ed25519 key")
    return key


def key_id(key: Ed25519PrivateKey) -> str:
    """The name that tokens call a key by."""
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.blake2b(public, digest_size=8).hexdigest()


def _write(path: Path, key: Ed25519PrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # Whole or not at all: a crash in between must not leave half a key.
    partial = path.with_suffix(".new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
