"""The token sets of Xero users, sealed, and the right to refresh them, which one process has at a time."""

from collections.abc import Collection, Mapping
from datetime import datetime

import msgspec
from sqlalchemy import Column, delete, exists, or_, select, update
from sqlalchemy.sql import ColumnElement

from tieout_server.clock import from_micros, to_micros
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import authorisations, connections, leavings, xero_users

_STANDS = (connections.c.membership_id != "") | (connections.c.choices != "")
"""Whether a connection needs its user's tokens; one that is ended has neither."""


class StoredTokens(msgspec.Struct, frozen=True, kw_only=True):
    """One Xero user's token set, sealed. Tokens belong to a user, not to an organisation (Xero, Token types)."""

    xero_user_id: str
    access_token: bytes
    refresh_token: bytes
    access_expires_at: datetime
    refresh_expires_at: datetime
    scopes: tuple[str, ...]
    generation: int = 0
    """Raised with every new token set; what is handed in does not matter."""
    claimed_until: datetime | None = None
    """Until when somebody has the right to refresh it; what is handed in does not matter."""
    leaving_until: datetime | None = None
    """Until when something that this user linked is being removed at Xero; what is handed in does not matter."""


async def get(tx: Transaction, xero_user_id: str, *, lock: bool = False) -> StoredTokens | None:
    """The newest token set of this user."""
    query = select(xero_users).where(xero_users.c.xero_user_id == xero_user_id)
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).one_or_none()
    if row is None:
        return None
    return StoredTokens(
        xero_user_id=row.xero_user_id,
        access_token=bytes(row.access_token),
        refresh_token=bytes(row.refresh_token),
        access_expires_at=from_micros(row.access_expires_at),
        refresh_expires_at=from_micros(row.refresh_expires_at),
        scopes=tuple(row.scopes.split()),
        generation=row.generation,
        claimed_until=None if row.refreshing_until is None else from_micros(row.refreshing_until),
        leaving_until=None if row.leaving_until is None else from_micros(row.leaving_until),
    )


async def expiries(tx: Transaction, xero_user_ids: Collection[str]) -> Mapping[str, datetime]:
    """When the token sets of these users lapse if they are never refreshed; users without tokens are left out."""
    query = select(xero_users.c.xero_user_id, xero_users.c.refresh_expires_at)
    rows = await tx.execute(query.where(xero_users.c.xero_user_id.in_(xero_user_ids)))
    return {row.xero_user_id: from_micros(row.refresh_expires_at) for row in rows}


async def keep(tx: Transaction, tokens: StoredTokens, at: datetime) -> None:
    """Make this the user's token set, whatever there was."""
    place = "?" if tx.dialect.name == "sqlite" else "%s"
    columns = _columns(tokens, at)
    await tx.exec_driver_sql(_KEEP.format(", ".join([place] * len(columns))), tuple(columns.values()))


async def replace(tx: Transaction, generation: int, tokens: StoredTokens, at: datetime) -> bool:
    """Replace the token set of this generation; False, and nothing is kept, if there is another one by now."""
    done = await tx.execute(
        update(xero_users)
        .where(xero_users.c.xero_user_id == tokens.xero_user_id, xero_users.c.generation == generation)
        .values(**_columns(tokens, at), generation=generation + 1, refreshing_by="", refreshing_until=None)
    )
    return done.rowcount == 1


class Claim(msgspec.Struct, frozen=True):
    """The right to ask Xero for a user's next token set: whose tokens, of which generation, and who asks."""

    xero_user_id: str
    generation: int
    by: str


async def claim_refresh(tx: Transaction, claim: Claim, *, now: datetime, until: datetime) -> bool:
    """Take this right until then; False if somebody else has it, or there is a newer token set already."""
    is_free = (xero_users.c.refreshing_by == "") | (xero_users.c.refreshing_until <= to_micros(now))
    done = await tx.execute(
        update(xero_users)
        .where(xero_users.c.xero_user_id == claim.xero_user_id, xero_users.c.generation == claim.generation, is_free)
        .values(refreshing_by=claim.by, refreshing_until=to_micros(until))
    )
    return done.rowcount == 1


async def release_refresh(tx: Transaction, claim: Claim) -> None:
    """Give this right back; nothing if it was lost meanwhile."""
    await tx.execute(
        update(xero_users)
        .where(xero_users.c.xero_user_id == claim.xero_user_id, xero_users.c.refreshing_by == claim.by)
        .values(refreshing_by="", refreshing_until=None)
    )


async def release_of(tx: Transaction, gone: Collection[str]) -> None:
    """Give back what these held, who are gone."""
    held = update(xero_users).where(xero_users.c.refreshing_by.in_(gone))
    await tx.execute(held.values(refreshing_by="", refreshing_until=None))


async def release_all(tx: Transaction) -> None:
    """Give back what a process that is gone held. Only for a database that one process owns."""
    await tx.execute(update(xero_users).values(refreshing_by="", refreshing_until=None, leaving_until=None))


def _columns(tokens: StoredTokens, at: datetime) -> dict[str, object]:
    return {
        "xero_user_id": tokens.xero_user_id,
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "access_expires_at": to_micros(tokens.access_expires_at),
        "refresh_expires_at": to_micros(tokens.refresh_expires_at),
        "scopes": " ".join(tokens.scopes),
        "updated_at": to_micros(at),
    }


_KEEP = (
    "INSERT INTO xero_users (xero_user_id, access_token, refresh_token, access_expires_at, refresh_expires_at, "
    "scopes, updated_at, generation, refreshing_by) VALUES ({0}, 1, '') ON CONFLICT (xero_user_id) DO UPDATE SET "
    "access_token = excluded.access_token, refresh_token = excluded.refresh_token, "
    "access_expires_at = excluded.access_expires_at, refresh_expires_at = excluded.refresh_expires_at, "
    "scopes = excluded.scopes, refreshing_by = '', refreshing_until = NULL, "
    "updated_at = excluded.updated_at, generation = xero_users.generation + 1"
)


async def mark_leaving(tx: Transaction, xero_user_id: str, until: datetime | None) -> None:
    """Note until when something that this user linked is being removed at Xero; None: it is, or was not."""
    micros = None if until is None else to_micros(until)
    await tx.execute(update(xero_users).where(xero_users.c.xero_user_id == xero_user_id).values(leaving_until=micros))


async def is_consenting(tx: Transaction, xero_user_id: str) -> bool:
    """Whether a consent of this user has given tokens and is not settled yet: what it linked is not known here."""
    return bool((await tx.execute(select(_granted_by(xero_user_id)))).scalar_one())


async def is_stood_on(tx: Transaction, xero_user_id: str) -> bool:
    """Whether a connection, or a consent under way, stands on this user's tokens."""
    query = select(or_(_stood_on_by_connection(xero_user_id), _granted_by(xero_user_id)))
    return bool((await tx.execute(query)).scalar_one())


async def drop_unused(tx: Transaction, xero_user_id: str) -> None:
    """Erase this user's tokens if nothing needs them: neither to read nor to remove anything at Xero."""
    await tx.execute(delete(xero_users).where(xero_users.c.xero_user_id == xero_user_id, ~_needed(xero_user_id)))


async def prune(tx: Transaction, before: datetime) -> int:
    """Erase tokens from before this instant that nothing needs any more; says of how many users."""
    is_old = xero_users.c.updated_at < to_micros(before)
    return (await tx.execute(delete(xero_users).where(is_old, ~_needed(xero_users.c.xero_user_id)))).rowcount


_User = str | Column[str]


def _needed(user: _User) -> ColumnElement[bool]:
    leaves = exists().where(leavings.c.xero_user_id == user)
    return or_(_stood_on_by_connection(user), _granted_by(user), leaves)


def _stood_on_by_connection(user: _User) -> ColumnElement[bool]:
    return exists().where(connections.c.xero_user_id == user, _STANDS)


def _granted_by(user: _User) -> ColumnElement[bool]:
    return exists().where(authorisations.c.xero_user_id == user)
