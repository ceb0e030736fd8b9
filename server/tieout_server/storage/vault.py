"""The vault: secrets are sealed before they are stored, each for the one row that it belongs to.

AES-256-GCM with a random 96-bit nonce. The row's identity goes in as associated data, so that a sealed value that
is copied to another row does not open there. The key's name stands in front, so that keys can be rotated.
"""

import base64
import binascii
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.engine import URL

from tieout_server.errors import OperatorMustActError
from tieout_server.storage.database import parse_url

KEY_BYTES = 32
NONCE_BYTES = 12
_FORMAT = 1
_KEY_NAME = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_HOW_TO_MAKE = "make one with: echo k1:$(openssl rand -base64 32)"


class VaultError(OperatorMustActError):
    """A key is missing or wrong, or a sealed value was damaged or moved: an operator must bring back the right one."""


class Vault:
    """Seals with the first of its keys and opens with any of them."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Take keys of 32 bytes by their names, the one that seals first.

        Raises:
            VaultError: there is no key, or a name or a length is wrong.
        """
        for name, key in keys.items():
            _check_key(name, key)
        if not keys:
            raise VaultError(f"TIEOUT_VAULT_KEYS holds no key; {_HOW_TO_MAKE}")
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}
        self._sealing = next(iter(keys))

    def __repr__(self) -> str:
        """The names of the keys, never the keys."""
        return f"Vault({', '.join(self._ciphers)})"

    @classmethod
    def from_settings(cls, keys: str, database_url: str) -> "Vault":
        """The vault for `name:base64,…`; without keys and with SQLite, one whose key file stands beside the database.

        Raises:
            VaultError: the keys cannot be read, or there is none and the database is PostgreSQL.
        """
        if keys.strip():
            return cls(_parse(keys))
        url = parse_url(database_url)
        if url.get_backend_name() != "sqlite":
            raise VaultError(
                "TIEOUT_VAULT_KEYS is empty. Xero's tokens are encrypted at rest, and with PostgreSQL every replica "
                f"needs the same key: {_HOW_TO_MAKE}, and keep it where you keep the database password"
            )
        if (file := key_file_of(url)) is None:
            return cls({"memory": secrets.token_bytes(KEY_BYTES)})
        return cls(_parse(_key_file(file)))

    def seal(self, plain: str, *, context: str) -> bytes:
        """Encrypt for one row; `context` names it and is needed to open."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        header = _header(self._sealing)
        return header + nonce + self._ciphers[self._sealing].encrypt(nonce, plain.encode(), header + context.encode())

    def open(self, sealed: bytes, *, context: str) -> str:
        """What was sealed with this context.

        Raises:
            VaultError: no key of this name, another context, or the value was changed.
        """
        name = _key_name(sealed)
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise VaultError(f"A stored secret was sealed with key {name!r}, which TIEOUT_VAULT_KEYS does not hold.")
        header, rest = _header(name), sealed[len(_header(name)) :]
        try:
            plain = cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], header + context.encode())
        except (InvalidTag, ValueError) as error:
            raise VaultError(f"A stored secret ({context}) does not open with key {name!r}.") from error
        return plain.decode()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys, the one that seals first."""
        return tuple(self._ciphers)

    def mark(self, name: str) -> bytes:
        """What stands in front of all that the key of this name has sealed."""
        return _header(name)


def key_file_of(url: URL) -> Path | None:
    """Where the key file of this database stands if there are no other keys; None where it has no place on disk."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database) + ".key")


def _header(name: str) -> bytes:
    return bytes((_FORMAT, len(name))) + name.encode()


def _key_name(sealed: bytes) -> str:
    """The key's name in front of a sealed value.

    Raises:
        VaultError: this is not a sealed value.
    """
    if len(sealed) > 2 and sealed[0] == _FORMAT:  # noqa: PLR2004 - format and length come first
        name = sealed[2 : 2 + sealed[1]].decode(errors="replace")
        if _KEY_NAME.fullmatch(name):
            return name
    raise VaultError("A stored secret is not in a form that this version knows.")


def _check_key(name: str, key: bytes) -> None:
    if not _KEY_NAME.fullmatch(name):
        raise VaultError(f"The name of a vault key has 1 to 32 letters, digits, '_', '.' or '-'; {_HOW_TO_MAKE}")
    if len(key) != KEY_BYTES:
        raise VaultError(f"Vault key {name!r} has {len(key)} bytes instead of {KEY_BYTES}; {_HOW_TO_MAKE}")


def _parse(text: str) -> dict[str, bytes]:
    """Keys by name from `name:base64,…`. A message never repeats what may be a key."""
    keys: dict[str, bytes] = {}
    for position, part in enumerate(text.split(","), start=1):
        name, colon, encoded = part.strip().partition(":")
        if not colon or name in keys:
            raise VaultError(f"Vault key {position} must read name:base64, each name once; {_HOW_TO_MAKE}")
        try:
            keys[name] = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise VaultError(f"Vault key {position} is not base64; {_HOW_TO_MAKE}") from None  # its text is a secret
    return keys


def _key_file(path: Path) -> str:
    """The text of the key file, which is made if there is none; of two processes that make it, one wins for both.

    Raises:
        VaultError: the file cannot be made or read.
    """
    try:
        if not path.exists():
            _make_key_file(path)
        return path.read_text().strip()
    except OSError as error:
        raise VaultError(f"The vault's key file {path} cannot be used: {error.strerror}.") from error


def _make_key_file(path: Path) -> None:
    """Write the file in full (mode 0600) under another name, then link it: a half-written one is never seen."""
    name = "file-" + secrets.token_hex(4)  # its own name, so that a lost file is told from a damaged secret
    text = f"{name}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}\n"
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # fails when it is there: a key is never overwritten
    except FileExistsError:
        return
    finally:
        Path(draft).unlink()
