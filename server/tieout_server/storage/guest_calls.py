"""Calls that a process makes to an organisation that is at home in another one: asked for, granted, and told of."""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import delete, select, update

from tieout_server.ledger.books import Purpose
from tieout_server.ledger.calls import Left, Problem
from tieout_server.storage.database import Transaction
from tieout_server.storage.replica_tables import guest_calls, homes


class GuestState(StrEnum):
    """How far such a call has come."""

    ASKED = "ASKED"
    GRANTED = "GRANTED"
    REFUSED = "REFUSED"
    """The day has no more calls for its purpose."""
    ENDED = "ENDED"


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a call; or, of a refused one, when there will be leave."""

    is_sent: bool = False
    left: Left | None = None
    """What Xero's answer says is left; None if there was no answer."""
    problem: Problem | None = None
    retry_after: float | None = None
    retry_at: datetime | None = None


class GuestCall(msgspec.Struct, frozen=True):
    """A call that a guest wants to make, or makes."""

    id: str
    xero_tenant_id: str
    purpose: Purpose
    guest: str
    is_over: bool = False
    """Its guest has told what became of it."""


_FOR_HOME = (GuestState.ASKED, GuestState.ENDED)
_decode = msgspec.json.Decoder(Outcome).decode


async def ask(tx: Transaction, call: GuestCall) -> None:
    """Ask the home of the organisation, wherever that is, for leave to make this call."""
    values = {"id": call.id, "xero_tenant_id": call.xero_tenant_id, "purpose": call.purpose, "replica_id": call.guest}
    await tx.execute(guest_calls.insert().values(**values, state=GuestState.ASKED, outcome="{}"))


async def asked(tx: Transaction, home: str, besides: Collection[str]) -> Sequence[GuestCall]:
    """What guests ask this process for, or have told it; without what it has in hand."""
    query = (
        select(guest_calls)
        .join(homes, homes.c.xero_tenant_id == guest_calls.c.xero_tenant_id)
        .where(homes.c.replica_id == home, guest_calls.c.state.in_(_FOR_HOME), guest_calls.c.id.not_in(besides))
    )
    return [
        GuestCall(
            row.id, row.xero_tenant_id, Purpose(row.purpose), row.replica_id, is_over=row.state == GuestState.ENDED
        )
        for row in await tx.execute(query)
    ]


async def move(
    tx: Transaction, id_: str, before: GuestState, after: GuestState, outcome: Outcome | None = None
) -> bool:
    """Bring a call from one state to the next; False if it is not in that state, or nobody wants it any more."""
    values: dict[str, object] = {"state": after}
    if outcome is not None:
        values["outcome"] = msgspec.json.encode(outcome).decode()
    done = await tx.execute(
        update(guest_calls).where(guest_calls.c.id == id_, guest_calls.c.state == before).values(**values)
    )
    return done.rowcount == 1


async def find(tx: Transaction, id_: str) -> tuple[GuestState, Outcome] | None:
    """How far a call has come; None if it is gone."""
    row = (await tx.execute(select(guest_calls.c.state, guest_calls.c.outcome).where(guest_calls.c.id == id_))).first()
    return None if row is None else (GuestState(row.state), _decode(row.outcome))


async def remove(tx: Transaction, id_: str) -> None:
    """Nobody has anything to do with this call any more."""
    await tx.execute(delete(guest_calls).where(guest_calls.c.id == id_))
