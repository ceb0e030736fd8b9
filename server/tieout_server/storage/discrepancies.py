"""Discrepancies: one row per customer and currency, what it consists of, and everything that happened to it."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby

import msgspec
from sqlalchemy import Row, bindparam, func, insert, select, update

from tieout_server.clock import from_micros, to_micros
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.money import from_units, to_units
from tieout_server.storage.database import Transaction
from tieout_server.storage.pages import Span, paged
from tieout_server.storage.reconciliation_tables import discrepancies, discrepancy_events

OVER = ("SELF_HEALED", "RESOLVED")
"""The states (`reconciliations.state`) in which a discrepancy is over."""
_OPEN_OF = (
    select(discrepancies)
    .where(
        discrepancies.c.connection_id == bindparam("connection_id"),
        discrepancies.c.xero_contact_id.in_(bindparam("contacts", expanding=True)),
        discrepancies.c.state.not_in(OVER),
    )
    .order_by(discrepancies.c.xero_contact_id, discrepancies.c.place, discrepancies.c.id)
)
"""Built once: see `connections`."""


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """What one side has of a document, as far as it matters for a balance."""

    status: str
    issued_on: date | None = None
    total: Decimal
    due: Decimal
    """Of an invoice what is still to be paid, of a credit what remains."""
    paid: Decimal = Decimal(0)
    credited: Decimal = Decimal(0)
    xero_contact_id: str
    xero_updated_at: datetime
    read_at: datetime


class Involved(msgspec.Struct, frozen=True, kw_only=True):
    """A document that is part of a difference, with what each side has of it."""

    entity: Entity
    xero_id: str
    number: str = ""
    cause: str
    """reconciliations.compare.Cause"""
    currency: str
    """Of its amounts."""
    ours: Values | None = None
    xero: Values | None = None
    difference: Decimal
    """Its part of the discrepancy, in the discrepancy's currency."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a difference that one cause explains."""

    cause: str
    amount: Decimal
    sentence: str


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a discrepancy, and how it stood after it."""

    state: str
    sentence: str
    actor: str
    at: datetime
    difference: Decimal


class Discrepancy(msgspec.Struct, frozen=True, kw_only=True):
    """A difference between our balance and Xero's for one customer in one currency, as it stands."""

    id: str
    connection_id: str
    xero_contact_id: str
    """The customer, over merges."""
    customer_name: str
    currency: str
    ours: Decimal
    xero: Decimal
    causes: tuple[Share, ...] = ()
    """The largest first; they add up to the difference."""
    documents: tuple[Involved, ...] = ()
    more_documents: int = 0
    """How many more are involved than are named here."""
    ruled_out: tuple[str, ...] = ()
    state: str
    """reconciliations.state.DiscrepancyState"""
    sentence: str = ""
    owner: str = ""
    """ledger.links.Owner"""
    note: str = ""
    opened_at: datetime
    updated_at: datetime
    resolved_at: datetime | None = None
    short_code: str = ""
    """The organisation's code for links into Xero."""
    history: tuple[Happened, ...] = ()
    """Oldest first. Only where it is asked for."""

    @property
    def difference(self) -> Decimal:
        """`ours` less `xero`."""
        return self.ours - self.xero

    @property
    def cause(self) -> str:
        """The cause that explains most of it; empty while none is known."""
        return self.causes[0].cause if self.causes else ""

    @property
    def is_over(self) -> bool:
        """Whether both sides agree again."""
        return self.state in OVER

    def brief(self, documents: int, history: int) -> "Discrepancy":
        """The same with so many documents at most, those of the largest parts, and so much of its latest history."""
        rest = max(len(self.documents) - documents, 0)
        largest = sorted(self.documents, key=lambda one: -abs(one.difference)) if rest else self.documents
        return msgspec.structs.replace(
            self,
            documents=tuple(largest[:documents]),
            more_documents=self.more_documents + rest,
            history=self.history[max(len(self.history) - history, 0) :],
        )


class Change(msgspec.Struct, frozen=True):
    """What happened to a discrepancy, and what it is since, in brief: the content of an event."""

    event: Happened
    discrepancy: Discrepancy


class DiscrepancyQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which discrepancies: those that meet every condition that is set."""

    states: tuple[str, ...] = ()
    """Empty: all that are not over."""
    causes: tuple[str, ...] = ()
    xero_contact_id: str = ""


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """What nothing is searched or sorted by."""

    causes: tuple[Share, ...]
    documents: tuple[Involved, ...]
    ruled_out: tuple[str, ...]
    sentence: str
    owner: str
    customer_name: str
    short_code: str


_body = msgspec.json.Decoder(_Body).decode


async def put(tx: Transaction, discrepancy: Discrepancy) -> None:
    """Keep this discrepancy as it is now, without its history."""
    values = _columns(discrepancy)
    done = await tx.execute(update(discrepancies).where(discrepancies.c.id == discrepancy.id).values(**values))
    if not done.rowcount:
        await tx.execute(insert(discrepancies).values(id=discrepancy.id, **values))


async def add(tx: Transaction, discrepancy_id: str, happened: Sequence[Happened]) -> None:
    """Add to the history of a discrepancy; whoever does holds the discrepancy or its connection."""
    of = discrepancy_events.c.discrepancy_id == discrepancy_id
    last: int = (
        await tx.execute(select(func.coalesce(func.max(discrepancy_events.c.number), 0)).where(of))
    ).scalar_one()
    rows = [
        {
            "discrepancy_id": discrepancy_id,
            "number": number,
            "state": one.state,
            "sentence": one.sentence,
            "actor": one.actor,
            "difference": to_units(one.difference),
            "at": to_micros(one.at),
        }
        for number, one in enumerate(happened, last + 1)
    ]
    if rows:
        await tx.execute(insert(discrepancy_events), rows)


async def get(tx: Transaction, discrepancy_id: str, *, lock: bool = False) -> Discrepancy | None:
    """The discrepancy with this id and its history; with `lock`, nobody else changes it until the commit."""
    query = select(discrepancies).where(discrepancies.c.id == discrepancy_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        return None
    (found,) = await _with_history(tx, [_discrepancy(row)])
    return found


async def of_customer(tx: Transaction, connection_id: str, contacts: Collection[str]) -> list[Discrepancy]:
    """Every discrepancy of these contacts, with history, whether it is over or not, by contact and currency."""
    query = select(discrepancies).where(
        discrepancies.c.connection_id == connection_id, discrepancies.c.xero_contact_id.in_(contacts)
    )
    rows = await tx.execute(query.order_by(discrepancies.c.xero_contact_id, discrepancies.c.currency))
    return await _with_history(tx, [_discrepancy(row) for row in rows])


async def open_of(tx: Transaction, connection_id: str, contacts: Collection[str]) -> Mapping[str, list[Discrepancy]]:
    """The discrepancies of these customers that are not over, by customer, the largest difference first."""
    rows = await tx.execute(_OPEN_OF, {"connection_id": connection_id, "contacts": list(contacts)})
    found = [_discrepancy(row) for row in rows]
    return {customer: list(own) for customer, own in groupby(found, key=lambda one: one.xero_contact_id)}


async def take_over(tx: Transaction, connection_id: str, into: Mapping[str, str]) -> set[str]:
    """Make what is open of contacts that were merged away `into` others theirs; answers who took something over.

    Where one has had a discrepancy in the same currency itself, whoever compares it next ends the other.
    """
    rows = await tx.execute(
        select(discrepancies.c.id, discrepancies.c.xero_contact_id, discrepancies.c.currency, discrepancies.c.state)
        .where(
            discrepancies.c.connection_id == connection_id,
            discrepancies.c.xero_contact_id.in_({*into, *into.values()}),
        )
        .order_by(discrepancies.c.id)
    )
    known = rows.all()
    taken = {(row.xero_contact_id, row.currency) for row in known}
    winners = set()
    for row in known:
        winner = into.get(row.xero_contact_id)
        if winner and row.state not in OVER and (winner, row.currency) not in taken:
            taken.add((winner, row.currency))
            winners.add(winner)
            moved = update(discrepancies).where(discrepancies.c.id == row.id).values(xero_contact_id=winner)
            await tx.execute(moved)
    return winners


async def off_balance(tx: Transaction, connection_id: str) -> set[str]:
    """The customers that are off balance, by id."""
    query = select(discrepancies.c.xero_contact_id).where(
        discrepancies.c.connection_id == connection_id, discrepancies.c.state.not_in(OVER)
    )
    return {row[0] for row in await tx.execute(query.distinct())}


async def open_differences(tx: Transaction, connection_id: str) -> Mapping[tuple[str, str], Decimal]:
    """By how much the sides differ now, by customer and currency; where they agree there is no entry."""
    query = select(
        discrepancies.c.xero_contact_id, discrepancies.c.currency, discrepancies.c.ours - discrepancies.c.xero
    ).where(discrepancies.c.connection_id == connection_id, discrepancies.c.state.not_in(OVER))
    return {(row[0], row[1]): from_units(row[2]) for row in await tx.execute(query)}


async def some_open(tx: Transaction, connection_id: str, *, after: str = "", limit: int) -> list[Discrepancy]:
    """Those that are not over, with history, by id: so many at most, behind this one."""
    query = select(discrepancies).where(
        discrepancies.c.connection_id == connection_id,
        discrepancies.c.state.not_in(OVER),
        discrepancies.c.id > after,
    )
    rows = await tx.execute(query.order_by(discrepancies.c.id).limit(limit))
    return await _with_history(tx, [_discrepancy(row) for row in rows])


async def page(
    tx: Transaction, connection_id: str, wanted: DiscrepancyQuery, span: Span
) -> tuple[list[Discrepancy], Span | None]:
    """Discrepancies by currency, then the largest difference first; and the span of the next page."""
    query = select(discrepancies).where(discrepancies.c.connection_id == connection_id)
    if wanted.states:
        query = query.where(discrepancies.c.state.in_(wanted.states))
    else:
        query = query.where(discrepancies.c.state.not_in(OVER))
    if wanted.causes:
        query = query.where(discrepancies.c.cause.in_(wanted.causes))
    if wanted.xero_contact_id:
        query = query.where(discrepancies.c.xero_contact_id == wanted.xero_contact_id)
    rows, following = await paged(tx, query, (discrepancies.c.place, discrepancies.c.id), span)
    return [_discrepancy(row) for row in rows], following


async def _with_history(tx: Transaction, found: Sequence[Discrepancy]) -> list[Discrepancy]:
    if not found:
        return []
    query = select(discrepancy_events).where(discrepancy_events.c.discrepancy_id.in_([one.id for one in found]))
    rows = await tx.execute(query.order_by(discrepancy_events.c.discrepancy_id, discrepancy_events.c.number))
    histories = {name: tuple(map(_happened, own)) for name, own in groupby(rows, key=lambda row: row.discrepancy_id)}
    return [msgspec.structs.replace(one, history=histories.get(one.id, ())) for one in found]


def _columns(one: Discrepancy) -> dict[str, object]:
    body = _Body(
        causes=one.causes,
        documents=one.documents,
        ruled_out=one.ruled_out,
        sentence=one.sentence,
        owner=one.owner,
        customer_name=one.customer_name,
        short_code=one.short_code,
    )
    return {
        "connection_id": one.connection_id,
        "xero_contact_id": one.xero_contact_id,
        "currency": one.currency,
        "ours": to_units(one.ours),
        "xero": to_units(one.xero),
        "place": f"{one.currency} {_LARGEST - abs(to_units(one.difference)):019d}",
        "cause": one.cause,
        "state": one.state,
        "body": msgspec.json.encode(body).decode(),
        "note": one.note,
        "opened_at": to_micros(one.opened_at),
        "updated_at": to_micros(one.updated_at),
        "resolved_at": None if one.resolved_at is None else to_micros(one.resolved_at),
    }


_LARGEST = 10**18
"""More than any difference in 1/10,000: subtracted from it, the largest sorts first."""


def _discrepancy(row: Row[tuple[object, ...]]) -> Discrepancy:
    r = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    body = _body(r["body"])
    return Discrepancy(
        id=r["id"],
        connection_id=r["connection_id"],
        xero_contact_id=r["xero_contact_id"],
        customer_name=body.customer_name,
        currency=r["currency"],
        ours=from_units(r["ours"]),
        xero=from_units(r["xero"]),
        causes=body.causes,
        documents=body.documents,
        ruled_out=body.ruled_out,
        state=r["state"],
        sentence=body.sentence,
        owner=body.owner,
        note=r["note"],
        opened_at=from_micros(r["opened_at"]),
        updated_at=from_micros(r["updated_at"]),
        resolved_at=None if r["resolved_at"] is None else from_micros(r["resolved_at"]),
        short_code=body.short_code,
    )


def _happened(row: Row[tuple[object, ...]]) -> Happened:
    r = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return Happened(
        state=r["state"],
        sentence=r["sentence"],
        actor=r["actor"],
        at=from_micros(r["at"]),
        difference=from_units(r["difference"]),
    )
