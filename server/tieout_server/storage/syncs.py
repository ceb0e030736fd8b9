"""Syncs and the lines that each of them reads."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Row, select, update

from tieout_server.clock import from_micros, from_micros_if_any, to_micros_if_any
from tieout_server.storage.database import Transaction
from tieout_server.storage.tables import sync_lines, syncs


class SyncFault(msgspec.Struct, frozen=True):
    """Why a sync ended badly: a stable word, a sentence, and who must act."""

    reason: str
    sentence: str
    owner: str


class Resolution(msgspec.Struct, frozen=True):
    """What was decided about a sync that was held: `syncs.state.Decision`, why, and when."""

    decision: str
    note: str
    at: datetime


class SyncRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One sync, as it stands. The words of its state, phase, mode and milestones are in `syncs.state`."""

    id: str
    connection_id: str
    ordinal: int
    mode: str
    state: str
    phase: str = ""
    entities: tuple[str, ...] = ()
    requested_by: str = ""
    percent: float = 0.0
    eta_at: datetime | None = None
    waiting_by: str = ""
    waiting_until: datetime | None = None
    fault: SyncFault | None = None
    resolution: Resolution | None = None
    milestones: Mapping[str, datetime] = {}
    failures: int = 0
    calls: int = 0
    bytes_wire: int = 0
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    updated_at: datetime


class StoredLine(msgspec.Struct, frozen=True):
    """One line of a sync: its name, its rank, and its content as `syncs.plan` writes it."""

    name: str
    rank: int
    body: bytes


async def insert(tx: Transaction, sync: SyncRecord) -> None:
    """Keep a new sync."""
    await tx.execute(syncs.insert().values(**_columns(sync)))


async def save(tx: Transaction, sync: SyncRecord, *, while_in: Collection[str]) -> bool:
    """Keep this sync as it is now; False, and nothing is kept, if its state here is none of these any more."""
    done = await tx.execute(
        update(syncs).where(syncs.c.id == sync.id, syncs.c.state.in_(while_in)).values(**_columns(sync))
    )
    return done.rowcount == 1


async def get(tx: Transaction, sync_id: str, *, lock: bool = False) -> SyncRecord | None:
    """The sync with this id; with `lock`, nobody else changes it until the commit."""
    query = select(syncs).where(syncs.c.id == sync_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _record(row)


async def latest(tx: Transaction, connection_id: str) -> SyncRecord | None:
    """The newest sync of a connection: the one under way, if any is."""
    query = select(syncs).where(syncs.c.connection_id == connection_id).order_by(syncs.c.ordinal.desc()).limit(1)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else _record(row)


async def page(
    tx: Transaction, connection_id: str, *, states: Collection[str] = (), before: int | None = None, limit: int
) -> Sequence[SyncRecord]:
    """The syncs of a connection, newest first, those with a smaller ordinal than `before`."""
    query = select(syncs).where(syncs.c.connection_id == connection_id).order_by(syncs.c.ordinal.desc()).limit(limit)
    if states:
        query = query.where(syncs.c.state.in_(states))
    if before is not None:
        query = query.where(syncs.c.ordinal < before)
    return [_record(row) for row in await tx.execute(query)]


async def lines(tx: Transaction, sync_id: str) -> Sequence[StoredLine]:
    """The lines of a sync, in the order in which they are read."""
    rows = await tx.execute(select(sync_lines).where(sync_lines.c.sync_id == sync_id).order_by(sync_lines.c.rank))
    return [StoredLine(row.name, row.rank, bytes(row.body)) for row in rows]


async def put_lines(tx: Transaction, sync_id: str, changed: Sequence[StoredLine]) -> None:
    """Keep these lines in place of those with the same names."""
    if not changed:
        return
    place = "?" if tx.dialect.name == "sqlite" else "%s"
    await tx.exec_driver_sql(_PUT_LINE.format(place), [(sync_id, x.name, x.rank, x.body) for x in changed])


_PUT_LINE = (
    "INSERT INTO sync_lines (sync_id, name, rank, body) VALUES ({0}, {0}, {0}, {0}) "
    "ON CONFLICT (sync_id, name) DO UPDATE SET rank = excluded.rank, body = excluded.body"
)


def _columns(sync: SyncRecord) -> dict[str, object]:
    return {
        "id": sync.id,
        "connection_id": sync.connection_id,
        "ordinal": sync.ordinal,
        "mode": sync.mode,
        "state": sync.state,
        "phase": sync.phase,
        "entities": " ".join(sync.entities),
        "requested_by": sync.requested_by,
        "percent": round(sync.percent * 100),
        "eta_at": to_micros_if_any(sync.eta_at),
        "waiting_by": sync.waiting_by,
        "waiting_until": to_micros_if_any(sync.waiting_until),
        "error": msgspec.json.encode(sync.fault).decode() if sync.fault else "",
        "resolution": msgspec.json.encode(sync.resolution).decode() if sync.resolution else "",
        "milestones": msgspec.json.encode(sync.milestones).decode(),
        "failures": sync.failures,
        "call_count": sync.calls,
        "bytes_wire": sync.bytes_wire,
        "created_at": to_micros_if_any(sync.created_at),
        "started_at": to_micros_if_any(sync.started_at),
        "ended_at": to_micros_if_any(sync.ended_at),
        "updated_at": to_micros_if_any(sync.updated_at),
    }


def _record(row: Row[tuple[object, ...]]) -> SyncRecord:
    r = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return SyncRecord(
        id=r["id"],
        connection_id=r["connection_id"],
        ordinal=r["ordinal"],
        mode=r["mode"],
        state=r["state"],
        phase=r["phase"],
        entities=tuple(r["entities"].split()),
        requested_by=r["requested_by"],
        percent=r["percent"] / 100,
        eta_at=from_micros_if_any(r["eta_at"]),
        waiting_by=r["waiting_by"],
        waiting_until=from_micros_if_any(r["waiting_until"]),
        fault=msgspec.json.decode(r["error"], type=SyncFault) if r["error"] else None,
        resolution=msgspec.json.decode(r["resolution"], type=Resolution) if r["resolution"] else None,
        milestones=msgspec.json.decode(r["milestones"], type=dict[str, datetime]),
        failures=r["failures"],
        calls=r["call_count"],
        bytes_wire=r["bytes_wire"],
        created_at=from_micros(r["created_at"]),
        started_at=from_micros_if_any(r["started_at"]),
        ended_at=from_micros_if_any(r["ended_at"]),
        updated_at=from_micros(r["updated_at"]),
    )
