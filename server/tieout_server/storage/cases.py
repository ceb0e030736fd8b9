"""Cases: differences that somebody reported, with what was found at once."""

from datetime import datetime

import msgspec
from sqlalchemy import Row, select, update

from tieout_server.clock import from_micros, to_micros
from tieout_server.storage.database import Transaction
from tieout_server.storage.reconciliation_tables import cases


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A difference that was reported and not flagged. It changes only as its customers are compared at once."""

    id: str
    connection_id: str
    description: str
    """In the words of whoever noticed."""
    customer_ids: tuple[str, ...] = ()
    """The customers that it is about, over merges."""
    discrepancy_ids: tuple[str, ...] = ()
    """What was found for them."""
    sentence: str
    created_at: datetime


async def insert(tx: Transaction, case: Case) -> None:
    """Keep a new case."""
    await tx.execute(
        cases.insert().values(
            id=case.id,
            connection_id=case.connection_id,
            description=case.description,
            customer_ids=msgspec.json.encode(case.customer_ids).decode(),
            discrepancy_ids=msgspec.json.encode(case.discrepancy_ids).decode(),
            sentence=case.sentence,
            created_at=to_micros(case.created_at),
        )
    )


async def update_found(tx: Transaction, case: Case) -> None:
    """Keep what was found of a case; nothing, if it is not there any more."""
    found = {"discrepancy_ids": msgspec.json.encode(case.discrepancy_ids).decode(), "sentence": case.sentence}
    await tx.execute(update(cases).where(cases.c.id == case.id).values(**found))


async def get(tx: Transaction, case_id: str) -> Case | None:
    """The case with this id."""
    row = (await tx.execute(select(cases).where(cases.c.id == case_id))).one_or_none()
    return None if row is None else _case(row)


def _case(row: Row[tuple[object, ...]]) -> Case:
    r = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return Case(
        id=r["id"],
        connection_id=r["connection_id"],
        description=r["description"],
        customer_ids=_ids(r["customer_ids"]),
        discrepancy_ids=_ids(r["discrepancy_ids"]),
        sentence=r["sentence"],
        created_at=from_micros(r["created_at"]),
    )


_ids = msgspec.json.Decoder(tuple[str, ...]).decode
