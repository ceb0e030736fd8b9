"""Rotation of the vault's keys: what older keys have sealed is sealed anew with the first one, while servers run.

Each batch is a short transaction of its own: an interrupted run has done what it has done, and the next one goes on.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from sqlalchemy import case, func, literal, not_, or_, select, tuple_, update
from sqlalchemy.sql import ColumnElement

from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.sealed import SEALED, Sealed
from tieout_server.storage.vault import Vault, VaultError

BATCH = 100
"""Rows per transaction: a few milliseconds of SQLite's only writer."""
UNKNOWN = ""
"""Stands for whatever key the vault does not hold."""

_Key = tuple[str, ...]


class Rotated(msgspec.Struct, frozen=True):
    """How many secrets of a kind were sealed anew, and how many could not be: damaged, or copied from another row."""

    resealed: int
    unreadable: int


async def rotate(database: Database, vault: Vault) -> Mapping[str, Rotated]:
    """Seal anew, with the vault's first key, whatever its other keys have sealed; by kind.

    A secret that somebody is replacing at this moment is passed over: theirs is newer.
    """
    return {sealed.kind: await _rotate(database, vault, sealed) for sealed in SEALED}


class Standing(msgspec.Struct, frozen=True):
    """How many secrets of each kind are sealed with which key."""

    by_kind: Mapping[str, Mapping[str, int]]
    names: Sequence[str]
    """The vault's keys, the one that seals first."""

    @property
    def is_done(self) -> bool:
        """Whether everything is sealed with the first key, so that the others are not needed any more."""
        return all(set(by_key) <= {self.names[0]} for by_key in self.by_kind.values())

    def sentences(self) -> Iterator[str]:
        """What an operator is to know, and to do."""
        first, *others = self.names
        for name in (*others, UNKNOWN):
            left = [f"{by[name]:,} {kind}" for kind, by in self.by_kind.items() if by.get(name)]
            if left:
                whose = f"with {name}" if name else "with keys that TIEOUT_VAULT_KEYS does not hold"
                yield f"Still sealed {whose}: {', '.join(left)}."
        if not self.is_done:
            yield f"Keep every key, see that all servers have {first} as their first one, and rotate again."
        elif others:
            yield f"Everything is sealed with {first}: {', '.join(others)} may be removed from TIEOUT_VAULT_KEYS."
        else:
            yield f"Everything is sealed with {first}, the only key there is."


async def standing(database: Database, vault: Vault) -> Standing:
    """What is sealed with which key now."""
    async with database.read() as tx:
        return Standing({sealed.kind: await _count(tx, vault, sealed) for sealed in SEALED}, vault.names)


async def counts(database: Database) -> Mapping[str, int]:
    """How many secrets of each kind are sealed, with whatever key; kinds without any are left out."""
    async with database.read() as tx:
        found = {one.kind: await tx.scalar(select(func.count()).select_from(one.table)) for one in SEALED}
    return {kind: count for kind, count in found.items() if count}


async def some(database: Database, vault: Vault, sealed: Sealed, name: str, limit: int) -> Sequence[tuple[str, bytes]]:
    """The first so many secrets of a kind, by primary key, that name this key, with the contexts they are sealed for.

    UNKNOWN stands for every key that the vault does not hold.
    """
    is_wanted = _is_by(vault, sealed, name) if name else not_(or_(*(_is_by(vault, sealed, own) for own in vault.names)))
    query = select(*sealed.key, sealed.column).where(is_wanted).order_by(*sealed.key).limit(limit)
    async with database.read() as tx:
        return [(sealed.context(*key), bytes(secret)) for *key, secret in await tx.execute(query)]


async def _rotate(database: Database, vault: Vault, sealed: Sealed) -> Rotated:
    resealed = unreadable = 0
    after: _Key | None = None
    while True:
        async with database.write() as tx:
            batch = await _older(tx, vault, sealed, after)
            for key, secret in batch:
                if await _reseal(tx, vault, sealed, key, secret):
                    resealed += 1
                else:
                    unreadable += 1
        if not batch:
            return Rotated(resealed, unreadable)
        after = batch[-1][0]


async def _older(tx: Transaction, vault: Vault, sealed: Sealed, after: _Key | None) -> Sequence[tuple[_Key, bytes]]:
    """The next secrets that an older key has sealed, by primary key; nobody can replace them until we commit.

    Rows that others have locked are left out, not waited for: so no two transactions can wait for each other.
    """
    older = [_is_by(vault, sealed, name) for name in vault.names[1:]]
    query = select(*sealed.key, sealed.column).where(or_(literal(value=False), *older))
    if after is not None:
        query = query.where(tuple_(*sealed.key) > after)
    query = query.order_by(*sealed.key).limit(BATCH).with_for_update(skip_locked=True, key_share=True)
    return [(tuple(key), bytes(secret)) for *key, secret in await tx.execute(query)]


async def _reseal(tx: Transaction, vault: Vault, sealed: Sealed, key: _Key, secret: bytes) -> bool:
    """Put what this secret is in its place, sealed anew; False, and it stays, if it does not open."""
    context = sealed.context(*key)
    try:
        anew = vault.seal(vault.open(secret, context=context), context=context)
    except VaultError:
        return False
    await tx.execute(update(sealed.table).where(tuple_(*sealed.key) == key).values({sealed.column.name: anew}))
    return True


async def _count(tx: Transaction, vault: Vault, sealed: Sealed) -> Mapping[str, int]:
    by = case(*((_is_by(vault, sealed, name), name) for name in vault.names), else_=UNKNOWN).label("by")
    counted = select(by, func.count().label("number")).select_from(sealed.table).group_by(by)
    return {row.by: row.number for row in await tx.execute(counted)}


def _is_by(vault: Vault, sealed: Sealed, name: str) -> ColumnElement[bool]:
    mark = vault.mark(name)
    return func.substr(sealed.column, 1, len(mark)) == mark
