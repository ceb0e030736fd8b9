"""Connections, and the consents that are under way."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Row, Text, bindparam, case, delete, func, literal_column, select, tuple_, update
from sqlalchemy.sql import ColumnElement

from tieout_server.clock import MICROSECOND, from_micros, from_micros_if_any, to_micros, to_micros_if_any
from tieout_server.ledger.documents import Organisation
from tieout_server.ledger.links import AuthorisedBy, Granted, Link, OrganisationChoice, Reason
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import authorisations, connections

_GET = select(connections).where(connections.c.id == bindparam("connection_id"))
_LOCK = _GET.with_for_update(key_share=True)
_ORGANISATION = select(connections.c.organisation).where(connections.c.id == bindparam("connection_id"))
"""Built once: almost whatever is done asks one of them, and building takes longer than the answer."""
_IS_CONNECTED = connections.c.state == literal_column("'CONNECTED'", Text)  # as the index says it
_AT_ONCE = 100


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
    """Since when somebody has it in hand, or had it when it ended."""
    ended_at: datetime | None = None
    """When it was settled or refused."""
    granted: Granted | None = None
    """Set once the code has become tokens, until it ends: a second try goes on from there."""


async def insert(tx: Transaction, link: Link) -> None:
    """Keep a new connection."""
    await tx.execute(connections.insert().values(sync_ordinal=0, purge_up_to=0, **_columns(link)))


async def save(tx: Transaction, link: Link) -> None:
    """Keep this connection as it stands now."""
    await tx.execute(update(connections).where(connections.c.id == link.id).values(**_columns(link)))


async def get(tx: Transaction, connection_id: str, *, lock: bool = False) -> Link | None:
    """The connection with this id; with `lock`, nobody else changes it until the commit."""
    row = (await tx.execute(_LOCK if lock else _GET, {"connection_id": connection_id})).one_or_none()
    return None if row is None else _link(row)


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which connections are meant: those that meet every condition that is not empty."""

    merchant_id: str = ""
    states: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    merchants: Collection[str] | None = None
    """Only those of these merchants; None: of all."""


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
    if scope.merchants is not None:
        query = query.where(connections.c.merchant_id.in_(sorted(scope.merchants)))
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


async def sync_ordinal(tx: Transaction, connection_id: str) -> int:
    """The number of this connection's latest sync; 0 if there was none."""
    query = select(connections.c.sync_ordinal).where(connections.c.id == connection_id)
    return (await tx.execute(query)).scalar_one_or_none() or 0


async def organisation(tx: Transaction, connection_id: str) -> Organisation | None:
    """What is known of the organisation of this connection; None while it has none."""
    return _organisation((await tx.execute(_ORGANISATION, {"connection_id": connection_id})).scalar_one_or_none())


async def holder_of(tx: Transaction, xero_tenant_id: str) -> str:
    """The id of the connection that is CONNECTED to this organisation; empty if none is.

    Who asks so as to become it holds off everybody else who does, until the commit.
    """
    if tx.dialect.name == "postgresql":
        await tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"holder/{xero_tenant_id}", 0))))
    query = select(connections.c.id).where(connections.c.xero_tenant_id == xero_tenant_id, _IS_CONNECTED)
    return (await tx.execute(query)).scalar_one_or_none() or ""


async def holders_of(tx: Transaction, xero_tenant_ids: Collection[str]) -> Mapping[str, str]:
    """The ids of the connections that are CONNECTED to these organisations, by organisation; free ones are left out."""
    wanted = list(xero_tenant_ids)
    found: dict[str, str] = {}
    for start in range(0, len(wanted), _AT_ONCE):  # a statement takes only so many values: 32,766 on SQLite
        some = wanted[start : start + _AT_ONCE]
        query = select(connections.c.xero_tenant_id, connections.c.id)
        rows = await tx.execute(query.where(connections.c.xero_tenant_id.in_(some), _IS_CONNECTED))
        found |= {row.xero_tenant_id: row.id for row in rows}
    return found


async def broken_of(tx: Transaction, xero_user_id: str) -> Sequence[str]:
    """The ids of the connections that stand on this user and need a reconnect."""
    query = select(connections.c.id).where(
        connections.c.xero_user_id == xero_user_id, connections.c.state == "RECONNECT_REQUIRED"
    )
    return (await tx.execute(query.order_by(connections.c.id))).scalars().all()


async def is_used(tx: Transaction, xero_user_id: str, membership_id: str) -> bool:
    """Whether a connection stands on this membership, or offers it to be chosen after this user's consent."""
    query = select(connections.c.membership_id, connections.c.choices).where(
        (connections.c.membership_id == membership_id)
        | ((connections.c.xero_user_id == xero_user_id) & (connections.c.choices != ""))
    )
    return any(
        row.membership_id == membership_id
        or membership_id in {choice.membership_id for choice in _choices(row.choices)}
        for row in await tx.execute(query)
    )


async def begin_purge(tx: Transaction, connection_id: str) -> None:
    """Note that everything that was read or handed over through this connection up to now is to be erased."""
    last = connections.c.sync_ordinal
    of = connections.c.id == connection_id
    await tx.execute(update(connections).where(of).values(purge_up_to=last, sync_ordinal=last + 1))


async def purge_up_to(tx: Transaction, connection_id: str) -> int:
    """The ordinal of the last sync of which everything is to be erased; 0 if nothing is."""
    query = select(connections.c.purge_up_to).where(connections.c.id == connection_id)
    return (await tx.execute(query)).scalar_one_or_none() or 0


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
        used_at=from_micros_if_any(row.used_at),
        ended_at=from_micros_if_any(row.ended_at),
        granted=msgspec.json.decode(row.granted, type=Granted) if row.granted else None,
    )


async def mark_authorisation(tx: Transaction, state_hash: str, used_at: datetime | None) -> None:
    """Note since when somebody has this consent in hand, unless it has ended; None when it may be taken again."""
    is_open = (authorisations.c.state_hash == state_hash) & authorisations.c.ended_at.is_(None)
    await tx.execute(update(authorisations).where(is_open).values(used_at=to_micros_if_any(used_at)))


async def mark_granted(tx: Transaction, state_hash: str, granted: Granted) -> None:
    """Note, with the tokens, that this consent's code has become them."""
    await tx.execute(
        update(authorisations)
        .where(authorisations.c.state_hash == state_hash)
        .values(granted=_dump(granted), xero_user_id=granted.user.xero_user_id)
    )


async def end_authorisation(tx: Transaction, state_hash: str, at: datetime) -> bool:
    """Note that this consent was settled or refused, and forget who gave it; False if it had ended before."""
    done = await tx.execute(
        update(authorisations)
        .where(authorisations.c.state_hash == state_hash, authorisations.c.ended_at.is_(None))
        .values(used_at=to_micros(at), ended_at=to_micros(at), granted="", xero_user_id="")
    )
    return done.rowcount == 1


async def withdraw_authorisations(tx: Transaction, connection_id: str, *, in_hand: bool) -> Sequence[Granted]:
    """Forget the consents of this connection that are open, those that somebody has in hand only if that is said.

    Answers with those that had given tokens.
    """
    is_open = authorisations.c.ended_at.is_(None) if in_hand else authorisations.c.used_at.is_(None)
    return await _forget(tx, (authorisations.c.connection_id == connection_id) & is_open)


async def abandon_authorisations(tx: Transaction, connection_id: str, before: datetime) -> Sequence[Granted]:
    """Forget the consents that gave tokens, expired before this instant and were never settled; answers with them."""
    is_left = (authorisations.c.connection_id == connection_id) & (authorisations.c.granted != "")
    return await _forget(tx, is_left & (authorisations.c.expires_at <= to_micros(before)))


async def consent_open_until(
    tx: Transaction, connection_id: str, now: datetime, *, in_hand: timedelta
) -> datetime | None:
    """Until when a consent for this connection may still be settled; None if none can.

    One that came back in time is given so much longer.
    """
    longer = case(
        (authorisations.c.used_at.is_(None) & (authorisations.c.granted == ""), 0), else_=in_hand // MICROSECOND
    )
    until = authorisations.c.expires_at + longer
    query = select(func.max(until)).where(
        authorisations.c.connection_id == connection_id, authorisations.c.ended_at.is_(None), until > to_micros(now)
    )
    return from_micros_if_any((await tx.execute(query)).scalar_one())


async def free_authorisations(tx: Transaction) -> None:
    """Give back what a process that is gone had in hand. Only for a database that one process owns."""
    await tx.execute(update(authorisations).where(authorisations.c.ended_at.is_(None)).values(used_at=None))


async def prune_authorisations(tx: Transaction, before: datetime) -> int:
    """Forget consents that expired before this instant; says how many."""
    return (await tx.execute(delete(authorisations).where(authorisations.c.expires_at < to_micros(before)))).rowcount


async def _forget(tx: Transaction, which: ColumnElement[bool]) -> Sequence[Granted]:
    gone = await tx.execute(delete(authorisations).where(which).returning(authorisations.c.granted))
    return [msgspec.json.decode(granted, type=Granted) for granted in gone.scalars() if granted]


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
        "last_synced_at": to_micros_if_any(link.last_synced_at),
        "consented_at": to_micros_if_any(link.consented_at),
        "gap_from_at": to_micros_if_any(link.gap_from_at),
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
        organisation=_organisation(r["organisation"]),
        authorised_by=msgspec.json.decode(r["authorised_by"], type=AuthorisedBy) if r["authorised_by"] else None,
        scopes=tuple(r["scopes"].split()),
        choices=_choices(r["choices"]),
        last_synced_at=from_micros_if_any(r["last_synced_at"]),
        consented_at=from_micros_if_any(r["consented_at"]),
        gap_from_at=from_micros_if_any(r["gap_from_at"]),
        created_at=from_micros(r["created_at"]),
        updated_at=from_micros(r["updated_at"]),
    )


def _organisation(text: str | None) -> Organisation | None:
    return msgspec.json.decode(text, type=Organisation) if text else None


def _choices(text: str) -> tuple[OrganisationChoice, ...]:
    return msgspec.json.decode(text, type=tuple[OrganisationChoice, ...]) if text else ()


def _dump(value: object) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()
