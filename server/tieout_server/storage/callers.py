"""Callers that an operator registered, and the digests of their keys."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Row, func, select, update

from tieout_server.clock import from_micros, from_micros_if_any, to_micros, to_micros_if_any
from tieout_server.storage.caller_tables import caller_keys, callers
from tieout_server.storage.database import Transaction


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A caller as an operator registered it."""

    name: str
    roles: tuple[str, ...]
    merchants: tuple[str, ...] | None
    """The merchants it is limited to; None: it may see all."""
    certificate: str | None
    """The name in the certificate by which it shows itself."""
    created_at: datetime
    revoked_at: datetime | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key of a caller: what is needed to know it again."""

    id: str
    caller: str
    digest: bytes
    """SHA-256 of its secret."""
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


async def insert(tx: Transaction, caller: Registered) -> None:
    """Keep a new caller."""
    await tx.execute(
        callers.insert().values(
            name=caller.name,
            roles=" ".join(caller.roles),
            merchants=None if caller.merchants is None else msgspec.json.encode(caller.merchants).decode(),
            certificate=caller.certificate,
            created_at=to_micros(caller.created_at),
        )
    )


async def insert_key(tx: Transaction, key: Key) -> None:
    """Keep a new key of a caller."""
    await tx.execute(
        caller_keys.insert().values(
            id=key.id,
            caller=key.caller,
            digest=key.digest,
            created_at=to_micros(key.created_at),
            expires_at=to_micros_if_any(key.expires_at),
        )
    )


async def get(tx: Transaction, name: str) -> Registered | None:
    """The caller of this name, revoked ones included."""
    row = (await tx.execute(select(callers).where(callers.c.name == name))).one_or_none()
    return None if row is None else _registered(row)


async def of_certificate(tx: Transaction, names: Sequence[str]) -> Registered | None:
    """The caller that shows itself by a certificate with one of these names, the first that is known."""
    found = {row.certificate: row for row in await tx.execute(select(callers).where(callers.c.certificate.in_(names)))}
    return next((_registered(found[name]) for name in names if name in found), None)


async def key_of(tx: Transaction, key_id: str) -> tuple[Key, Registered] | None:
    """The key with this id and the caller whose it is, revoked ones included."""
    key = (await tx.execute(select(caller_keys).where(caller_keys.c.id == key_id))).one_or_none()
    if key is None:
        return None
    caller = (await tx.execute(select(callers).where(callers.c.name == key.caller))).one()
    return _key(key), _registered(caller)


async def everybody(tx: Transaction) -> Sequence[Registered]:
    """Every caller, revoked ones included, by name."""
    return [_registered(row) for row in await tx.execute(select(callers).order_by(callers.c.name))]


async def keys_of_all(tx: Transaction) -> Sequence[Key]:
    """Every key, revoked ones included, oldest first."""
    return [_key(row) for row in await tx.execute(select(caller_keys).order_by(caller_keys.c.created_at))]


async def is_anybody_registered(tx: Transaction) -> bool:
    """Whether a caller was ever registered; a revoked one counts, lest the last revocation open the door to all."""
    return bool((await tx.execute(select(func.count()).select_from(callers))).scalar_one())


async def revoke(tx: Transaction, name: str, at: datetime) -> bool:
    """Let this caller in no more; False if there is none that was let in."""
    still = (callers.c.name == name) & callers.c.revoked_at.is_(None)
    return (await tx.execute(update(callers).where(still).values(revoked_at=to_micros(at)))).rowcount == 1


async def free_certificate(tx: Transaction, certificate: str) -> None:
    """Take this certificate from a caller who was revoked, so that another one may show itself by it."""
    is_free = (callers.c.certificate == certificate) & callers.c.revoked_at.is_not(None)
    await tx.execute(update(callers).where(is_free).values(certificate=None))


async def revoke_key(tx: Transaction, key_id: str, at: datetime) -> bool:
    """Accept this key no more; False if there is none that was accepted."""
    still = (caller_keys.c.id == key_id) & caller_keys.c.revoked_at.is_(None)
    return (await tx.execute(update(caller_keys).where(still).values(revoked_at=to_micros(at)))).rowcount == 1


def _registered(row: Row[tuple[object, ...]]) -> Registered:
    r = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return Registered(
        name=r["name"],
        roles=tuple(r["roles"].split()),
        merchants=None if r["merchants"] is None else msgspec.json.decode(r["merchants"], type=tuple[str, ...]),
        certificate=r["certificate"],
        created_at=from_micros(r["created_at"]),
        revoked_at=from_micros_if_any(r["revoked_at"]),
    )


def _key(row: Row[tuple[object, ...]]) -> Key:
    r = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return Key(
        id=r["id"],
        caller=r["caller"],
        digest=bytes(r["digest"]),
        created_at=from_micros(r["created_at"]),
        expires_at=from_micros_if_any(r["expires_at"]),
        revoked_at=from_micros_if_any(r["revoked_at"]),
    )
