"""How the database itself is: what an operator looks at before blaming the service. It only reads."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import bindparam, func, select, text
from sqlalchemy.exc import DBAPIError

from tieout_server.clock import from_micros, to_micros
from tieout_server.errors import StorageUnavailableError
from tieout_server.storage import export_tables, migrate, replica_tables, tables
from tieout_server.storage.columns import metadata
from tieout_server.storage.database import Database, Transaction

_ANSWERS = text(
    "SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS is_standby, "
    "current_setting('default_transaction_read_only') = 'on' AS is_read_only, "
    "current_setting('synchronous_commit') AS synchronous_commit, current_setting('fsync') AS fsync, "
    "current_setting('full_page_writes') AS full_page_writes, "
    "current_setting('default_transaction_isolation') AS isolation, "
    "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS connections, "
    "pg_database_size(current_database()) AS size, clock_timestamp() AS now, pg_backend_pid() AS backend"
)
_LACKING = text(
    "SELECT name FROM unnest(CAST(:names AS text[])) AS name WHERE to_regclass(name) IS NOT NULL AND NOT ("
    "has_table_privilege(name, 'SELECT') AND has_table_privilege(name, 'INSERT') "
    "AND has_table_privilege(name, 'UPDATE') AND has_table_privilege(name, 'DELETE')) ORDER BY name"
).bindparams(bindparam("names"))


class Postgres(msgspec.Struct, frozen=True, kw_only=True):
    """A PostgreSQL server, as it says itself."""

    version: int
    """As a number: 160003 is 16.3."""
    is_standby: bool
    is_read_only: bool
    synchronous_commit: str
    fsync: str
    full_page_writes: str
    isolation: str
    connections: int
    """That this role may have at most, with everybody else."""
    size: int
    """Bytes."""
    now: datetime
    is_pooled: bool
    """Something like PgBouncer stands between."""
    lacking: tuple[str, ...]
    """Tables that this role may not fully read and write."""


class Sqlite(msgspec.Struct, frozen=True, kw_only=True):
    """A SQLite file, as it is opened here."""

    journal_mode: str
    damage: str
    """What a quick look for damage found; empty where there is none."""


class Late(msgspec.Struct, frozen=True):
    """Work that is due and that nobody has in hand: of which kind, how much, and since when."""

    kind: str
    count: int
    since: datetime


async def postgres(database: Database) -> Postgres:
    """The condition of a PostgreSQL server."""
    async with database.read() as tx:
        row = (await tx.execute(_ANSWERS)).one()._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
        lacking = (await tx.execute(_LACKING, {"names": sorted(metadata.tables)})).scalars().all()
        driver = (await tx.get_raw_connection()).driver_connection
        backend = None if driver is None else driver.info.backend_pid
    known = {name: value for name, value in row.items() if name != "backend"}
    return Postgres(**known, is_pooled=backend != row["backend"], lacking=tuple(lacking))


async def sqlite(database: Database) -> Sqlite:
    """The condition of a SQLite file; looking for damage takes a second for each GB or so."""
    async with database.read() as tx:
        mode = (await tx.exec_driver_sql("PRAGMA journal_mode")).scalar_one()
        damage = (await tx.exec_driver_sql("PRAGMA quick_check(1)")).scalar_one()
    return Sqlite(journal_mode=str(mode), damage="" if damage == "ok" else str(damage))


async def why_unusable(database: Database) -> str:
    """Why no transaction may write, in the database's words; empty where one may. Nothing is kept of it."""
    counter = tables.event_counter
    try:
        async with database.write(durable=False) as tx:
            if await migrate.version_in(tx) is not None:
                await tx.execute(counter.update().values(last=counter.c.last))
    except StorageUnavailableError as away:
        return away.why
    except DBAPIError as refused:
        return str(refused.orig).strip().partition("\n")[0]
    return ""


async def connections_by_state(tx: Transaction) -> Mapping[tuple[str, str], int]:
    """How many connections there are in each state and health."""
    own = tables.connections.c
    rows = await tx.execute(select(own.state, own.health, func.count()).group_by(own.state, own.health))
    return {(row[0], row[1]): row[2] for row in rows}


async def exports_by_status(tx: Transaction) -> Mapping[str, tuple[int, datetime]]:
    """How many payment exports stand where, and since when the one that did not move for longest."""
    own = export_tables.payment_exports.c
    query = select(own.xero_status, func.count(), func.min(own.updated_at)).group_by(own.xero_status)
    return {row[0]: (row[1], from_micros(row[2])) for row in await tx.execute(query)}


async def connections_of_exports(
    tx: Transaction, statuses: Sequence[str], since: datetime, at_most: int
) -> Sequence[tuple[str, int]]:
    """Whose payment exports have not moved from there since this instant: the connections with most, and how many."""
    own = export_tables.payment_exports.c
    stands_so = own.xero_status.in_(statuses) & (own.updated_at < to_micros(since))
    query = select(own.connection_id, func.count()).where(stands_so).group_by(own.connection_id)
    rows = await tx.execute(query.order_by(func.count().desc(), own.connection_id).limit(at_most))
    return [(row[0], row[1]) for row in rows]


async def late_work(tx: Transaction, since: datetime) -> Sequence[Late]:
    """What was due at this instant and is in nobody's hands yet."""
    own = tables.work.c
    is_late = (own.owner == "") & (own.due_at < to_micros(since))
    query = select(own.kind, func.count(), func.min(own.due_at)).where(is_late).group_by(own.kind).order_by(own.kind)
    return [Late(row[0], row[1], from_micros(row[2])) for row in await tx.execute(query)]


async def replicas(tx: Transaction) -> Sequence[tuple[str, datetime | None]]:
    """The processes that share the work: their names, and until when each is known to live."""
    own = replica_tables.replicas.c
    rows = await tx.execute(select(own.name, own.alive_until).order_by(own.name))
    return [(row[0], None if row[1] is None else from_micros(row[1])) for row in rows]
