"""The database itself: reachable, durable, big enough, and with this version's tables."""

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tieout_server.doctor.findings import Finding, fault, fine, not_examined, warning
from tieout_server.settings import Settings
from tieout_server.storage import condition, migrate
from tieout_server.storage.condition import Postgres
from tieout_server.storage.database import Database
from tieout_server.storage.migrate import HEAD

NAME = "database"
OLDEST_POSTGRES = 13
"""What is older has no more repairs from its makers."""
BESIDE_THE_POOL = 3
"""Connections of each replica beside its pool: one listens, two keep webhooks."""
CLOCKS_APART = timedelta(seconds=2)
FREE_AT_LEAST = 1 << 30
"""Bytes of free disk below which an operator is warned; a tenth of it is a fault."""


async def examine(settings: Settings, database: Database) -> Sequence[Finding]:
    """What can be said of the database without its tables; the first fault is the one that explains the others."""
    file = file_of(database)
    if file and not file.exists():
        return [*_no_file_yet(file)]
    if why := await condition.why_unusable(database):
        remedy = "Start the database, correct TIEOUT_DATABASE_URL, or the rights on what it names."
        return [fault(NAME, f"It cannot be used: {why}.", remedy)]
    if file:
        return [*_disk(file), *await _sqlite(database)]
    return judged(settings, await condition.postgres(database))


def judged(settings: Settings, seen: Postgres) -> Sequence[Finding]:
    """What a PostgreSQL server says of itself, judged."""
    return [*_server(seen), *_durable(seen), *_pooled(settings, seen), *_clock(seen)]


async def examine_version(database: Database) -> Sequence[Finding]:
    """Whether the tables are those of this version."""
    file = file_of(database)
    if file and not file.exists():
        return [not_examined("migrations", "The first start makes the tables.")]
    at = await migrate.current(database)
    if at == HEAD:
        return [fine("migrations", f"The tables are those of this version, {HEAD}.")]
    if at is not None and at > HEAD:
        return [await _ahead(database, at)]
    seen = f"The database is at revision {at or 'none'}, and this version needs {HEAD}."
    if file:
        return [warning("migrations", seen, "Nothing to do: with SQLite the next start migrates. Back up first.")]
    return [fault("migrations", seen, "Run: tieout-server migrate")]


async def _ahead(database: Database, at: str) -> Finding:
    """A database that a later version has migrated: this one can work with it until something is taken away."""
    seen = f"The database is at revision {at}, ahead of this version's {HEAD}"
    try:
        await migrate.check_fits(database)
    except migrate.DatabaseTooNewError:
        remedy = "Start the later version, or restore the backup made before it."
        return fault("migrations", f"{seen}, which cannot work with it.", remedy)
    return fine("migrations", f"{seen}, which works with it as well.")


def file_of(database: Database) -> Path | None:
    """The file of a SQLite database that is one."""
    path = database.url.database
    return Path(path) if database.is_sqlite and path and ":memory:" not in path and "mode=" not in str(path) else None


def _no_file_yet(file: Path) -> Iterator[Finding]:
    if file.absolute().parent.is_dir():
        yield warning(
            NAME, f"There is no file {file.absolute()} yet.", "Nothing to do if this is a first start; it is made then."
        )
    else:
        yield fault(NAME, f"There is no folder {file.absolute().parent}.", "Make it, or correct TIEOUT_DATABASE_URL.")


def _disk(file: Path) -> Iterator[Finding]:
    free, size = shutil.disk_usage(file.absolute().parent).free, file.stat().st_size
    log = file.with_name(file.name + "-wal")
    wal = log.stat().st_size if log.exists() else 0
    seen = f"{file} has {_readable(size)}, its log {_readable(wal)}; {_readable(free)} are free on that disk."
    if free < max(FREE_AT_LEAST // 10, size // 100):
        yield fault("disk", seen, "Free space on that disk, or move the database; a full disk stops everything.")
    elif free < max(FREE_AT_LEAST, size // 10):
        yield warning("disk", seen, "Free space on that disk, or have less kept (TIEOUT_KEEP_…).")
    else:
        yield fine("disk", seen)


async def _sqlite(database: Database) -> Sequence[Finding]:
    seen = await condition.sqlite(database)
    if seen.damage:
        return [fault(NAME, f"The file is damaged: {seen.damage}", "Stop the server and restore the last backup.")]
    if seen.journal_mode != "wal":
        said = f"The file has journal mode {seen.journal_mode} instead of wal: readers would wait for writers."
        return [fault(NAME, said, "Keep the file on a local disk; network file systems cannot have a shared log.")]
    return [fine(NAME, "SQLite: can be written, no damage found.")]


def _server(seen: Postgres) -> Iterator[Finding]:
    major, minor = divmod(seen.version, 10_000)
    said = f"PostgreSQL {major}.{minor}, {_readable(seen.size)}."
    if seen.is_standby or seen.is_read_only:
        yield fault(NAME, f"{said} It takes no writes.", "Point TIEOUT_DATABASE_URL at the primary.")
    elif major < OLDEST_POSTGRES:
        yield fault(NAME, said, f"Upgrade to PostgreSQL {OLDEST_POSTGRES} or later.")
    else:
        yield fine(NAME, said)
    if seen.lacking:
        some = ", ".join(seen.lacking[:5])
        yield fault(
            NAME,
            f"The role may not read and write all tables: {some}.",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO the role of TIEOUT_DATABASE_URL.",
        )
    if seen.isolation != "read committed":
        yield fault(
            NAME,
            f"default_transaction_isolation is {seen.isolation!r}.",
            "Run: ALTER ROLE … RESET default_transaction_isolation (the role of TIEOUT_DATABASE_URL).",
        )


def _durable(seen: Postgres) -> Iterator[Finding]:
    """What was committed has to survive: a payment is sent once because its intent was on disk before."""
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        if getattr(seen, name) == "off":
            yield fault(
                "durability",
                f"{name} is off: a crash may undo what was committed, and then a payment could be sent twice.",
                f"Run: ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();",
            )
    if {seen.fsync, seen.full_page_writes} == {"on"} and seen.synchronous_commit != "off":
        yield fine(
            "durability", f"Commits are on disk when they are told (synchronous_commit {seen.synchronous_commit})."
        )


def _pooled(settings: Settings, seen: Postgres) -> Iterator[Finding]:
    each = settings.database_pool + BESIDE_THE_POOL
    if seen.is_pooled and not settings.database_listen_url:
        yield warning(
            "pooler",
            "A pooler stands in front of PostgreSQL: no process hears the others, and each has to look for news.",
            "Set TIEOUT_DATABASE_LISTEN_URL to the address of PostgreSQL itself.",
        )
    elif not seen.is_pooled and each > seen.connections:
        yield fault(
            "connections to it",
            f"One replica wants {each} connections; the server has {seen.connections} for all.",
            "Raise max_connections, or lower TIEOUT_DATABASE_POOL.",
        )
    else:
        room = "as many as the pooler gives" if seen.is_pooled else f"enough for {seen.connections // each} replicas"
        yield fine("connections to it", f"{each} for each replica: {room}.")


def _clock(seen: Postgres) -> Iterator[Finding]:
    apart = abs(datetime.now(UTC) - seen.now)
    if apart > CLOCKS_APART:
        said = f"The clocks of this machine and of the database are {apart.total_seconds():.1f} seconds apart."
        yield fault("clock", said, "Keep the time of both machines by NTP (chronyc tracking, timedatectl).")
    else:
        yield fine("clock", "It agrees with the database's.")


def _readable(size: int) -> str:
    """In the unit that leaves one to three digits before the point."""
    power = min(len(str(size)) - 1, 11) // 3
    return f"{size / 1_000**power:,.1f} {('bytes', 'kB', 'MB', 'GB')[power]}" if power else f"{size} bytes"
