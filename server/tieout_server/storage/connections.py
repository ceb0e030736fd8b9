"""Connections, the consents that are under way, and the token sets of Xero users."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Row, delete, exists, func, select, tuple_, update

from tieout_server.clock import from_micros, to_micros
from tieout_server.ledger.documents import Organisation
from tieout_server.ledger.links import AuthorisedBy, Granted, Link, OrganisationChoice, Reason
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import authorisations, connections, xero_users


class Authorisation(msgspec.Struct, frozen=True, kw_only=True):
    """A consent under way: the hash of its state, for which connection, and until when."""

    state_hash: str
    connection_id: str
    code_verifier: bytes
    """Sealed."""
    return_url: str
    expires_at: datetime
    created_at: datetime
    used_at: datetime | None = None
    granted: Granted | None = None
    """Set once the code has become tokens: a second try goes on from there."""


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


async def insert(tx: Transaction, link: Link) -> None:
    """Keep a new connection."""
    await tx.execute(connections.insert().values(sync_ordinal=0, **_columns(link)))


async def save(tx: Transaction, link: Link) -> None:
    """Keep this connection as it stands now."""
    await tx.execute(update(connections).where(connections.c.id == link.id).values(**_columns(link)))


async def get(tx: Transaction, connection_id: str, *, lock: bool = False) -> Link | None:
    """The connection with this id; with `lock`, nobody else changes it until the commit."""
    query = select(connections).where(connections.c.id == connection_id)
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).one_or_none()
    return None if row is None else _link(row)


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which connections are meant: those that meet every condition that is not empty."""

    merchant_id: str = ""
    states: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


async def page(
    tx: Transaction, scope: Scope, *, after: tuple[datetime, str] | None = None, limit: int
) -> Sequence[Link]:
    """Connections in scope, oldest first and then by id, those behind this `created_at` and id, so many at most."""
    created_at, key = connections.c.created_at, connections.c.id
    query = select(connections).order_by(created_at, key).limit(limit)
    if after is not None:
        query = query.where(tuple_(created_at, key) > tuple_(to_micros(after[0]), after[1]))
    if scope.merchant_id:
        query = query.where(connections.c.merchant_id == scope.merchant_id)
    if scope.states:
        query = query.where(connections.c.state.in_(scope.states))
    if scope.ids:
        query = query.where(key.in_(scope.ids))
    return [_link(row) for row in await tx.execute(query)]


async def next_sync_ordinal(tx: Transaction, connection_id: str) -> int:
    """The number of this connection's next sync; the connection's row stays locked until the commit."""
    row = await tx.execute(
        update(connections)
        .where(connections.c.id == connection_id)
        .values(sync_ordinal=connections.c.sync_ordinal + 1)
        .returning(connections.c.sync_ordinal)
    )
    ordinal: int = row.scalar_one()
    return ordinal


async def set_last_synced(tx: Transaction, connection_id: str, at: datetime) -> None:
    """Note when the connection was last synced to the end."""
    await tx.execute(update(connections).where(connections.c.id == connection_id).values(last_synced_at=to_micros(at)))


async def holder_of(tx: Transaction, xero_tenant_id: str) -> str:
    """The id of the connection that is CONNECTED to this organisation; empty if none is.

    Who asks so as to become it holds off everybody else who does, until the commit.
    """
    if tx.dialect.name == "postgresql":
        await tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"holder/{xero_tenant_id}", 0))))
    query = select(connections.c.id).where(
        connections.c.xero_tenant_id == xero_tenant_id, connections.c.state == "CONNECTED"
    )
    return (await tx.execute(query)).scalar_one_or_none() or ""


# Consents under way


async def start_authorisation(tx: Transaction, started: Authorisation) -> None:
    """Keep a consent that was just begun."""
    await tx.execute(
        authorisations.insert().values(
            state_hash=started.state_hash,
            connection_id=started.connection_id,
            code_verifier=started.code_verifier,
            return_url=started.return_url,
            expires_at=to_micros(started.expires_at),
            created_at=to_micros(started.created_at),
        )
    )


async def find_authorisation(tx: Transaction, state_hash: str) -> Authorisation | None:
    """The consent with this state, used and expired ones included; its row stays locked until the commit."""
    query = select(authorisations).where(authorisations.c.state_hash == state_hash).with_for_update()
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        return None
    return Authorisation(
        state_hash=row.state_hash,
        connection_id=row.connection_id,
        code_verifier=bytes(row.code_verifier),
        return_url=row.return_url,
        expires_at=from_micros(row.expires_at),
        created_at=from_micros(row.created_at),
        used_at=None if row.used_at is None else from_micros(row.used_at),
        granted=msgspec.json.decode(row.granted, type=Granted) if row.granted else None,
    )


async def mark_authorisation(tx: Transaction, state_hash: str, used_at: datetime | None) -> None:
    """Note that this consent came back; None when its code may be tried again."""
    await tx.execute(
        update(authorisations)
        .where(authorisations.c.state_hash == state_hash)
        .values(used_at=None if used_at is None else to_micros(used_at))
    )


async def mark_granted(tx: Transaction, state_hash: str, granted: Granted) -> None:
    """Note, with the tokens, that this consent's code has become them."""
    await tx.execute(
        update(authorisations).where(authorisations.c.state_hash == state_hash).values(granted=_dump(granted))
    )


async def withdraw_authorisations(tx: Transaction, connection_id: str) -> None:
    """Forget the consents of this connection that did not come back yet."""
    pending = (authorisations.c.connection_id == connection_id) & authorisations.c.used_at.is_(None)
    await tx.execute(delete(authorisations).where(pending))


async def prune_authorisations(tx: Transaction, before: datetime) -> int:
    """Forget consents that expired before this instant; says how many."""
    return (await tx.execute(delete(authorisations).where(authorisations.c.expires_at < to_micros(before)))).rowcount


# Tokens


async def tokens_of(tx: Transaction, xero_user_id: str, *, lock: bool = False) -> StoredTokens | None:
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
    )


async def expiries(tx: Transaction, xero_user_ids: Collection[str]) -> Mapping[str, datetime]:
    """When the token sets of these users lapse if they are never refreshed; users without tokens are left out."""
    query = select(xero_users.c.xero_user_id, xero_users.c.refresh_expires_at)
    rows = await tx.execute(query.where(xero_users.c.xero_user_id.in_(xero_user_ids)))
    return {row.xero_user_id: from_micros(row.refresh_expires_at) for row in rows}


async def keep_tokens(tx: Transaction, tokens: StoredTokens, at: datetime) -> None:
    """Make this the user's token set, whatever there was."""
    place = "?" if tx.dialect.name == "sqlite" else "%s"
    columns = _token_columns(tokens, at)
    await tx.exec_driver_sql(_KEEP_TOKENS.format(", ".join([place] * len(columns))), tuple(columns.values()))


async def replace_tokens(tx: Transaction, generation: int, tokens: StoredTokens, at: datetime) -> bool:
    """Replace the token set of this generation; False, and nothing is kept, if there is another one by now."""
    done = await tx.execute(
        update(xero_users)
        .where(xero_users.c.xero_user_id == tokens.xero_user_id, xero_users.c.generation == generation)
        .values(**_token_columns(tokens, at), generation=generation + 1)
    )
    return done.rowcount == 1


def _token_columns(tokens: StoredTokens, at: datetime) -> dict[str, object]:
    return {
        "xero_user_id": tokens.xero_user_id,
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "access_expires_at": to_micros(tokens.access_expires_at),
        "refresh_expires_at": to_micros(tokens.refresh_expires_at),
        "scopes": " ".join(tokens.scopes),
        "updated_at": to_micros(at),
    }


_KEEP_TOKENS = (
    "INSERT INTO xero_users (xero_user_id, access_token, refresh_token, access_expires_at, refresh_expires_at, "
    "scopes, updated_at, generation) VALUES ({0}, 1) ON CONFLICT (xero_user_id) DO UPDATE SET "
    "access_token = excluded.access_token, refresh_token = excluded.refresh_token, "
    "access_expires_at = excluded.access_expires_at, refresh_expires_at = excluded.refresh_expires_at, "
    "scopes = excluded.scopes, updated_at = excluded.updated_at, generation = xero_users.generation + 1"
)


async def drop_unused_tokens(tx: Transaction, xero_user_id: str) -> None:
    """Erase this user's tokens if no connection stands on them."""
    needed = exists().where(connections.c.xero_user_id == xero_user_id)
    await tx.execute(delete(xero_users).where(xero_users.c.xero_user_id == xero_user_id, ~needed))


def _columns(link: Link) -> dict[str, object]:
    return {
        "id": link.id,
        "merchant_id": link.merchant_id,
        "state": link.state,
        "health": link.health,
        "reason": _dump(link.reason),
        "xero_tenant_id": link.xero_tenant_id,
        "membership_id": link.membership_id,
        "organisation": _dump(link.organisation),
        "xero_user_id": link.authorised_by.xero_user_id if link.authorised_by else "",
        "authorised_by": _dump(link.authorised_by),
        "scopes": " ".join(link.scopes),
        "choices": _dump(link.choices or None),
        "last_synced_at": None if link.last_synced_at is None else to_micros(link.last_synced_at),
        "created_at": to_micros(link.created_at),
        "updated_at": to_micros(link.updated_at),
    }


def _link(row: Row[tuple[object, ...]]) -> Link:
    r = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return Link(
        id=r["id"],
        merchant_id=r["merchant_id"],
        state=r["state"],
        health=r["health"],
        reason=msgspec.json.decode(r["reason"], type=Reason) if r["reason"] else None,
        xero_tenant_id=r["xero_tenant_id"],
        membership_id=r["membership_id"],
        organisation=msgspec.json.decode(r["organisation"], type=Organisation) if r["organisation"] else None,
        authorised_by=msgspec.json.decode(r["authorised_by"], type=AuthorisedBy) if r["authorised_by"] else None,
        scopes=tuple(r["scopes"].split()),
        choices=msgspec.json.decode(r["choices"], type=tuple[OrganisationChoice, ...]) if r["choices"] else (),
        last_synced_at=None if r["last_synced_at"] is None else from_micros(r["last_synced_at"]),
        created_at=from_micros(r["created_at"]),
        updated_at=from_micros(r["updated_at"]),
    )


def _dump(value: object) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()
