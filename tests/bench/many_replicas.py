"""Several replicas on one PostgreSQL, with more connections than anybody could consent to, and what all of it costs.

One connection is made by a real consent and a first sync against the sandbox; then it is multiplied in the database.
The copies have everything but documents: an organisation of their own, a user with sealed tokens, watermarks, work.
"""

import asyncio
import base64
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
from idle_xero import access_token  # type: ignore[import-not-found] # beside this one
from sqlalchemy.engine import make_url
from stage import HERE, Running, cpu_of, sandbox, server  # type: ignore[import-not-found] # beside this one

from tieout_server.clock import to_micros
from tieout_server.storage.vault import Vault

KEYS = "bench:" + base64.b64encode(secrets.token_bytes(32)).decode()
DAY, HOUR, POLL = timedelta(days=1), timedelta(hours=1), timedelta(minutes=5)
TOKEN_LIFE = timedelta(minutes=30)
EMPTY, ONE = "postgres", "with_one"
"""The database that `stage.postgres` migrates, and the one with the connection that is multiplied."""
SETTLED_WITHIN = 30.0

_COPIED = ("watermarks", "sweeps", "work", "change_counters", "compared")
_PRIMES = {POLL: 1, TOKEN_LIFE: 611_953, HOUR: 7_919, DAY: 104_729}
"""What a connection's number is multiplied by, so that neighbours in one order are none in another."""
_TENANT = "md5('organisation ' || n)::uuid::text"
_AROUND = ("BEGIN", "COMMIT", "ROLLBACK", "SET ")
"""Statements that only begin and end transactions."""

Database = psycopg.Connection[tuple[Any, ...]]


class Stage:
    """A PostgreSQL, and databases in it that are copies of prepared ones."""

    def __init__(self, url: str, log: Path) -> None:
        self._url = make_url(url)
        self._log = log
        with self.open(EMPTY) as db:
            db.execute("CREATE DATABASE admin")  # to stand in while the others are copied
        with self.open() as db:
            row = db.execute("SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int").fetchone()
        self._postmaster = psutil.Process(row[0] if row else 0)

    def url(self, name: str) -> str:
        """Where a database is."""
        return self._url.set(database=name).render_as_string(hide_password=False)

    @contextlib.contextmanager
    def open(self, name: str = "admin") -> Iterator[Database]:
        """A connection to a database; each statement commits by itself."""
        with psycopg.connect(self.url(name), autocommit=True) as db:
            yield db

    def copy(self, source: str, name: str) -> None:
        """Make a database like another one, which nobody uses at the moment."""
        with self.open() as db:
            db.execute(f"CREATE DATABASE {name} TEMPLATE {source}".encode())

    @contextlib.contextmanager
    def copied(self, source: str) -> Iterator[str]:
        """A database like another one, for as long as it is used."""
        name = f"run_{secrets.token_hex(4)}"
        self.copy(source, name)
        try:
            yield name
        finally:
            with self.open() as db:
                db.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def cpu(self) -> float:
        """CPU seconds of PostgreSQL so far, with all its processes."""
        own = self._postmaster.cpu_times()
        spent = own.user + own.system + own.children_user + own.children_system
        for child in self._postmaster.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                spent += cpu_of(child)
        return float(spent)

    def transactions(self, name: str) -> int:
        """Transactions of a database so far, as far as its backends have told: a second late while they work."""
        with self.open() as db:
            query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
            row = db.execute(query, (name,)).fetchone()
        return int(row[0]) if row else 0

    def written(self) -> int:
        """Bytes of PostgreSQL's write-ahead log so far."""
        with self.open() as db:
            row = db.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        return int(row[0]) if row else 0

    async def statements(self, seconds: float) -> float:
        """Statements a second, without those around transactions, as PostgreSQL's log has them."""
        with self.open() as db:
            await _log_statements(db, "all")
            before = self._log.stat().st_size
            await asyncio.sleep(seconds)
            after = self._log.stat().st_size
            await _log_statements(db, "none")
        with self._log.open("rb") as log:
            log.seek(before)
            lines = log.read(after - before).decode(errors="replace").splitlines()
        told = [line.partition("LOG:  ")[2].partition(": ")[2] for line in lines if "LOG:  " in line]
        return sum(bool(text) and not text.startswith(_AROUND) for text in told) / seconds


async def _log_statements(db: Database, which: str) -> None:
    db.execute(f"ALTER SYSTEM SET log_statement = '{which}'".encode())
    db.execute("SELECT pg_reload_conf()")
    await asyncio.sleep(0.5)


# Replicas


class Fleet:
    """Replicas on one database."""

    def __init__(self, stage: Stage, name: str, replicas: Sequence[Running]) -> None:
        self.stage = stage
        self.name = name
        self.replicas = replicas

    async def homes(self) -> Mapping[str, int]:
        """The organisations that are at home at each replica, by its process."""
        query = "SELECT r.name, count(h.*) FROM replicas r LEFT JOIN homes h ON h.replica_id = r.id GROUP BY r.name"
        with self.stage.open(self.name) as db:
            return {str(name): int(count) for name, count in db.execute(query.encode()).fetchall()}

    def cpu(self) -> list[float]:
        """CPU seconds of each replica so far."""
        return [cpu_of(replica.process) for replica in self.replicas]

    def memory(self) -> float:
        """MB of all replicas together."""
        return float(sum(replica.process.memory_info().rss for replica in self.replicas)) / 1e6

    async def joined(self) -> None:
        """Return once each replica knows of the others, by a sign of life."""
        await asyncio.sleep(6.0)


@contextlib.asynccontextmanager
async def fleet(
    stage: Stage, name: str, base: str, count: int, *, blocks_in: Path | None = None
) -> AsyncIterator[Fleet]:
    """So many replicas on a database, which call this Xero; each has heard of the others.

    With `blocks_in` each leaves there how long its event loop was blocked (`watched_server`).
    """
    program = (str(HERE / "watched_server.py"),) if blocks_in else ("-m", "tieout_server")
    environment = {"TIEOUT_VAULT_KEYS": KEYS, "TIEOUT_BENCH_BLOCKS": str(blocks_in)}
    async with contextlib.AsyncExitStack() as stack:
        starting = [server(base, stage.url(name), program=program, **environment) for _ in range(count)]
        made = Fleet(stage, name, [await stack.enter_async_context(one) for one in starting])
        if count > 1:
            await made.joined()
        yield made


class Spent:
    """What was spent between two looks."""

    def __init__(self, fleet_: Fleet) -> None:
        self._fleet = fleet_
        self._began = self._look()

    def since(self) -> tuple[float, float, float]:
        """A replica's share of a core, PostgreSQL's, and transactions a second of each replica."""
        began, now = self._began, self._look()
        seconds, count = now[0] - began[0], len(self._fleet.replicas)
        own = (sum(now[1]) - sum(began[1])) / count
        return own / seconds, (now[2] - began[2]) / seconds, (now[3] - began[3]) / seconds / count

    def _look(self) -> tuple[float, list[float], float, int]:
        fleet_ = self._fleet
        at = asyncio.get_running_loop().time()
        return at, fleet_.cpu(), fleet_.stage.cpu(), fleet_.stage.transactions(fleet_.name)


# Connections


async def prepare(stage: Stage, counts: Sequence[int]) -> None:
    """Make the databases `with_N`, of so many connections each."""
    stage.copy(EMPTY, ONE)
    with sandbox("--contacts", "20", "--invoices", "50") as base:
        async with server(base, stage.url(ONE), TIEOUT_VAULT_KEYS=KEYS) as running:
            await running.synced(await running.connect())
            await _at_rest(stage)
    for count in counts:
        stage.copy(ONE, f"with_{count}")
        with stage.open(f"with_{count}") as db:
            _multiply(db, count)


async def _at_rest(stage: Stage) -> None:
    """Return once what follows the first sync is done."""
    query = "SELECT count(*) FROM work WHERE owner <> '' OR due_at < extract(epoch FROM now() + interval '1 min') * 1e6"
    with stage.open(ONE) as db:
        async with asyncio.timeout(SETTLED_WITHIN):
            while (db.execute(query).fetchone() or (1,))[0]:  # noqa: ASYNC110 - other processes are waited for
                await asyncio.sleep(0.2)


def _multiply(db: Database, count: int) -> None:
    """Replace the one connection by so many like it, of an organisation and a user each, without documents."""
    # What the one row has that its copies have otherwise; the rest of its columns, whichever they are, is copied.
    own = (
        f"jsonb_build_object('id', {_id()}, 'merchant_id', 'merchant ' || n, 'xero_tenant_id', {_TENANT}, "
        "'membership_id', 'membership ' || n, 'xero_user_id', 'user ' || n, "
        "'authorised_by', replace(old.authorised_by, old.xero_user_id, 'user ' || n))"
    )
    row = db.execute("SELECT id, xero_user_id FROM connections").fetchone()
    assert row is not None
    db.execute(_copies("connections", own, count))
    for table in _COPIED:
        db.execute(_copies(table, f"jsonb_build_object('connection_id', {_id()})", count))
    db.execute(_copies("xero_users", "jsonb_build_object('xero_user_id', 'user ' || n)", count))
    _seal(db, count)
    db.execute("DELETE FROM connections WHERE id = %s", (row[0],))
    db.execute("DELETE FROM xero_users WHERE xero_user_id = %s", (row[1],))
    db.execute("DELETE FROM homes")
    db.execute("VACUUM ANALYZE")


def _id() -> str:
    return "'con_' || lpad(n::text, 20, '0')"


def _copies(table: str, own: str, count: int) -> bytes:
    rows = f"FROM {table} old, generate_series(1, {count}) n"
    return f"INSERT INTO {table} SELECT (jsonb_populate_record(old, {own})).* {rows}".encode()


def _seal(db: Database, count: int) -> None:
    """Give each user tokens that the idle Xero knows."""
    vault = Vault.from_settings(KEYS, "postgresql://")
    users = [f"user {number}" for number in range(1, count + 1)]
    sealed = [
        (vault.seal(access_token(user), context=f"access/{user}"), vault.seal(user, context=f"refresh/{user}"), user)
        for user in users
    ]
    with db.cursor() as cursor, db.transaction():
        query = "UPDATE xero_users SET access_token = %s, refresh_token = %s WHERE xero_user_id = %s"
        cursor.executemany(query, sealed)


# What is due when


def plan_nothing(db: Database) -> None:
    """Let nothing be due for hours."""
    _plan(db, datetime.now(UTC) + 6 * HOUR)


def plan_as_usual(db: Database, start: datetime) -> None:
    """Let everything be due as it is after hours of service, behind webhooks, evenly from this instant on.

    Payments are read every five minutes, the rest every hour, the accounts each day; tokens live for half an hour.
    """
    _plan(db, start)
    db.execute("DELETE FROM webhook_deliveries")
    db.execute("INSERT INTO webhook_deliveries (id, heard_at) VALUES (1, %s)", (to_micros(datetime.now(UTC)),))


def _plan(db: Database, start: datetime) -> None:
    count = (db.execute("SELECT count(*) FROM connections").fetchone() or (0,))[0]
    for table, column, where, every in (
        ("watermarks", "next_read_at", "entity = 'payments'", POLL),
        ("watermarks", "next_read_at", "entity = 'accounts'", DAY),
        ("watermarks", "next_read_at", "entity NOT IN ('payments', 'accounts')", HOUR),
        ("sweeps", "due_at", "true", DAY),
        ("work", "due_at", "due_at IS NOT NULL", DAY),
    ):
        due = _spread("connection_id", count, start, every)
        db.execute(f"UPDATE {table} SET {column} = {due} WHERE {where}".encode())  # noqa: S608 - all of it is ours
    first = "SELECT min(next_read_at) FROM watermarks w WHERE w.connection_id = work.connection_id"
    db.execute(f"UPDATE work SET due_at = ({first}) WHERE kind = 'poll'".encode())  # noqa: S608 - likewise
    now = datetime.now(UTC)
    expiry = _spread("xero_user_id", count, now - POLL, TOKEN_LIFE)  # as many are over as a poll usually finds
    refreshed = to_micros(now + 60 * DAY)
    lives = f"access_expires_at = {expiry}, refresh_expires_at = {refreshed}"
    db.execute(f"UPDATE xero_users SET {lives}".encode())  # noqa: S608 - likewise
    db.execute("ANALYZE work, watermarks")


def _spread(key: str, count: int, start: datetime, every: timedelta) -> str:
    """An instant for each row by the number at the end of its key, evenly over a time, in another order for each."""
    number = f"substring({key} FROM '[0-9]+$')::bigint * {_PRIMES[every]} % {count}"
    return f"{to_micros(start)} + ({number}) * {every // timedelta(microseconds=1)} / {count}"
