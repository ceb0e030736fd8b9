"""Answers to mutating requests, kept by request_id so that a repeat gets the first answer again."""

from datetime import datetime

import msgspec
from sqlalchemy import delete, func, select

from tieout_server.clock import to_micros
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import requests


class Answered(msgspec.Struct, frozen=True):
    """What was asked (as a digest) and what was answered (sealed)."""

    digest: str
    answer: bytes


async def find(tx: Transaction, method: str, request_id: str) -> Answered | None:
    """The answer given to this request before, if any; equal requests at the same time wait for the first one."""
    if tx.dialect.name == "postgresql":
        await tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{method}/{request_id}", 0))))
    row = (
        await tx.execute(
            select(requests.c.digest, requests.c.answer).where(
                requests.c.method == method, requests.c.request_id == request_id
            )
        )
    ).one_or_none()
    return None if row is None else Answered(row.digest, bytes(row.answer))


async def keep(tx: Transaction, method: str, request_id: str, answered: Answered, at: datetime) -> None:
    """Keep this answer, in the transaction of the change that it reports."""
    await tx.execute(
        requests.insert().values(
            method=method,
            request_id=request_id,
            digest=answered.digest,
            answer=answered.answer,
            created_at=to_micros(at),
        )
    )


async def prune(tx: Transaction, before: datetime) -> int:
    """Forget answers older than this; says how many."""
    return (await tx.execute(delete(requests).where(requests.c.created_at < to_micros(before)))).rowcount
