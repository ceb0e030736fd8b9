"""Steps of a migration keep what they say: those that expand only add, others wait, none blocks anybody."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from sqlalchemy import Connection, inspect, text

from tieout_server.storage import compatibility, migrate, replicas, steps
from tieout_server.storage.database import Database
from tieout_server.storage.steps import Phase, Step
from tieout_server.work.replica import LIFE

pytestmark = pytest.mark.timeout(60)

WAITS = 3.0
"""Seconds in which a migration surely comes by a lock that it must not have."""


@pytest_asyncio.fixture
async def empty(empty_database_url: str) -> AsyncIterator[Database]:
    opened = Database(empty_database_url)
    yield opened
    await opened.close()


# What a step does to tables


class Shape(msgspec.Struct, frozen=True):
    """A table, as the database describes it."""

    columns: Mapping[str, tuple[str, bool, bool]]
    """Type, whether it may be null, and whether it may be left out."""
    rules: frozenset[str]
    """Keys, checks and unique indexes: what may refuse a row."""


def shapes(connection: Connection) -> dict[str, Shape]:
    look = inspect(connection)
    return {name: _shape(look, name) for name in look.get_table_names() if name != "alembic_version"}


def _shape(look: Any, name: str) -> Shape:  # noqa: ANN401 - SQLAlchemy's inspector
    columns = {
        one["name"]: (str(one["type"]), one["nullable"], one["nullable"] or one["default"] is not None)
        for one in look.get_columns(name)
    }
    rules = [
        ("primary", look.get_pk_constraint(name)["constrained_columns"]),
        *(("foreign", one["constrained_columns"], one["referred_table"]) for one in look.get_foreign_keys(name)),
        *(("unique", one["column_names"]) for one in look.get_indexes(name) if one["unique"]),
        *(("unique", one["column_names"]) for one in look.get_unique_constraints(name)),
        *(("check", one["sqltext"]) for one in look.get_check_constraints(name)),
    ]
    return Shape(columns, frozenset(map(str, rules)))


def taken_away(before: Mapping[str, Shape], after: Mapping[str, Shape]) -> list[str]:
    """What a program that knew the tables before cannot do any more."""
    found = [f"{name} is gone" for name in before.keys() - after.keys()]
    for name in before.keys() & after.keys():
        was, is_ = before[name], after[name]
        found += [f"{name}.{one} is gone" for one in was.columns.keys() - is_.columns.keys()]
        both = was.columns.keys() & is_.columns.keys()
        found += [f"{name}.{one} is another" for one in both if was.columns[one] != is_.columns[one]]
        new = is_.columns.keys() - was.columns.keys()
        found += [f"{name}.{one} must be given" for one in new if not is_.columns[one][2]]
        found += [f"{name} has a new rule: {rule}" for rule in is_.rules - was.rules]
    return found


async def test_each_step_that_expands_takes_nothing_away(empty: Database) -> None:
    contracted: list[str] = []
    after: Mapping[str, Shape] = {}
    for step in steps.all_steps():
        before = after
        async with empty.write() as tx:
            await tx.run_sync(steps.take, step)
            after = await tx.run_sync(shapes)
        lost = taken_away(before, after)
        if step.phase is Phase.EXPAND:
            assert lost == [], step.revision
        else:
            contracted.append(step.revision)
            assert lost, f"{step.revision} need not wait"
    assert "0004" in contracted


@pytest.mark.parametrize(
    ("statement", "lost"),
    [
        ("ALTER TABLE connections DROP COLUMN merchant_id", "connections.merchant_id is gone"),
        ("ALTER TABLE connections RENAME TO links", "connections is gone"),
        ("ALTER TABLE work ADD COLUMN who TEXT NOT NULL", "work.who must be given"),
        ("CREATE UNIQUE INDEX only_one ON work (lane)", "work has a new rule: ('unique', ['lane'])"),
    ],
)
async def test_what_takes_something_away_is_found(empty: Database, statement: str, lost: str) -> None:
    if empty.is_sqlite and "NOT NULL" in statement:
        pytest.skip("SQLite adds no such column")
    await migrate.upgrade(empty)
    async with empty.write() as tx:
        before = await tx.run_sync(shapes)
        if "DROP COLUMN" in statement:
            for index in await tx.run_sync(lambda sync: inspect(sync).get_indexes("connections")):
                await tx.execute(text(f"DROP INDEX {index['name']}"))
        await tx.execute(text(statement))
        assert lost in taken_away(before, await tx.run_sync(shapes))


def test_steps_are_numbered_in_order_and_the_program_needs_the_last_that_adds() -> None:
    known = steps.all_steps()
    assert [step.revision for step in known] == sorted(f"{int(step.revision):04}" for step in known)
    assert max(step.revision for step in known if step.phase is Phase.EXPAND) == migrate.NEEDED
    assert known[-1].revision == migrate.HEAD


# Which step comes next

EXPAND, CONTRACT, LATER = (
    Step(revision, phase) for revision, phase in (("1", Phase.EXPAND), ("2", Phase.CONTRACT), ("3", Phase.EXPAND))
)


def test_what_takes_away_waits_until_it_is_asked_for_or_something_comes_after_it() -> None:
    assert steps.next_step([EXPAND, CONTRACT], "0", contract=False) == EXPAND
    assert steps.next_step([EXPAND, CONTRACT], "1", contract=False) is None
    assert steps.next_step([EXPAND, CONTRACT], "1", contract=True) == CONTRACT
    assert steps.next_step([EXPAND, CONTRACT, LATER], "1", contract=False) == CONTRACT
    assert steps.next_step([EXPAND, CONTRACT, LATER], "2", contract=False) == LATER
    assert steps.next_step([EXPAND, CONTRACT, LATER], "3", contract=True) is None
    assert [steps.oldest_after([EXPAND, CONTRACT, LATER], at) for at in "123"] == ["", "2", "2"]


# Steps to come


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], None]:
    """Makes this program a later one, with one step more."""
    folder = tmp_path / "migrations"
    shutil.copytree(steps.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))

    def add(revision: str, body: str) -> None:
        # Each step its own folder: alembic reads a folder once.
        known = steps.FOLDER if steps.FOLDER.parent == tmp_path else folder
        ours = tmp_path / f"migrations-{revision}"
        shutil.copytree(known, ours)
        before = f'revision = "{revision}"\ndown_revision = "{migrate.HEAD}"\n'
        (ours / "versions" / f"{revision}_later.py").write_text(f"from alembic import op\n{before}{body}")
        monkeypatch.setattr(steps, "FOLDER", ours)
        monkeypatch.setattr(migrate, "HEAD", revision)
        if 'phase = "expand"' in body:
            monkeypatch.setattr(migrate, "NEEDED", revision)

    return add


DROPS = 'phase = "contract"\ndef upgrade():\n    op.drop_column("work", "priority")\n'
ADDS = 'phase = "expand"\ndef upgrade():\n    op.execute("CREATE TABLE later (id INTEGER)")\n'
ALTERS = 'phase = "expand"\ndef upgrade():\n    op.execute("ALTER TABLE work ADD COLUMN later INTEGER")\n'
INDEXES = (
    'phase = "expand"\nindexes = {"ix_work_priority": ("work", ["priority"])}\n'
    'def upgrade():\n    op.execute("CREATE TABLE later (id INTEGER)")\n'
)
Later = Callable[[str, str], None]


@asynccontextmanager
async def replica(database: Database) -> AsyncIterator[None]:
    """A process of the version that made these tables, which is alive."""
    async with database.write() as tx:
        await replicas.join(tx, "one", LIFE, alone=False, name="host:1")
    yield
    async with database.write() as tx:
        await replicas.leave(tx, "one")


async def test_what_takes_away_waits_for_its_command(empty: Database, later: Later) -> None:
    await migrate.upgrade(empty)
    later("0900", DROPS)
    assert await migrate.upgrade(empty) == ["0900"]
    await migrate.check_fits(empty)
    assert await migrate.upgrade(empty, contract=True) == []
    async with empty.read() as tx:
        assert await tx.run_sync(compatibility.oldest) == "0900"


async def test_what_takes_away_waits_until_no_older_replica_is_alive(empty: Database, later: Later) -> None:
    if empty.is_sqlite:
        pytest.skip("SQLite has no replicas")
    await migrate.upgrade(empty)
    async with replica(empty):
        later("0900", DROPS)
        with pytest.raises(migrate.OlderReplicasError, match="host:1"):
            await migrate.upgrade(empty, contract=True)
        later("0901", ADDS)
        with pytest.raises(migrate.OlderReplicasError, match="host:1"):
            await migrate.upgrade(empty)
    assert await migrate.upgrade(empty) == []
    await migrate.check_fits(empty)


async def test_an_older_program_works_on_until_something_is_taken_away(empty: Database, later: Later) -> None:
    await migrate.upgrade(empty)
    older = migrate.HEAD
    later("0900", ADDS)
    await migrate.upgrade(empty)
    with pytest.MonkeyPatch.context() as older_program:
        older_program.setattr(migrate, "HEAD", older)
        older_program.setattr(migrate, "NEEDED", older)
        await migrate.check_fits(empty)
        assert await migrate.upgrade(empty) == []
    later("0901", DROPS)
    await migrate.upgrade(empty, contract=True)
    with pytest.MonkeyPatch.context() as older_program:
        older_program.setattr(migrate, "HEAD", older)
        older_program.setattr(migrate, "NEEDED", older)
        with pytest.raises(migrate.DatabaseTooNewError, match="knows revision 0901"):
            await migrate.check_fits(empty)
        with pytest.raises(migrate.DatabaseTooNewError, match="restore the backup"):
            await migrate.upgrade(empty)


async def test_a_large_index_is_built_while_somebody_writes_and_a_broken_one_again(
    empty: Database, later: Later
) -> None:
    await migrate.upgrade(empty)
    later("0900", INDEXES)
    if not empty.is_sqlite:
        async with empty.write() as tx:  # what a build that was broken off leaves behind
            await tx.execute(text("CREATE INDEX ix_work_priority ON work (priority)"))
            await tx.execute(
                text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_work_priority'::regclass")
            )
    await migrate.upgrade(empty)
    async with empty.read() as tx:
        found = await tx.run_sync(lambda sync: [one["name"] for one in inspect(sync).get_indexes("work")])
        assert "ix_work_priority" in found
        if not empty.is_sqlite:
            broken = "SELECT 1 FROM pg_index WHERE indexrelid = 'ix_work_priority'::regclass AND NOT indisvalid"
            assert (await tx.execute(text(broken))).first() is None
    assert await migrate.current(empty) == "0900"


async def test_a_step_in_the_way_of_a_long_transaction_blocks_nobody_and_comes_again(
    empty: Database, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    if empty.is_sqlite:
        pytest.skip("SQLite has one writer")
    monkeypatch.setattr(migrate, "LOCK_WITHIN", "200ms")
    await migrate.upgrade(empty)
    later("0900", ALTERS)
    read = text("SELECT count(*) FROM work")
    async with empty.write() as long:
        await long.execute(read)  # it holds the table for as long as it is open
        migrating = asyncio.create_task(migrate.upgrade(empty))
        await asyncio.wait([migrating], timeout=WAITS)
        assert not migrating.done()
        async with asyncio.timeout(WAITS), empty.read() as other:
            await other.execute(read)
        await long.execute(read)
    await migrating
    assert await migrate.current(empty) == "0900"


async def test_who_is_in_the_way_for_minutes_is_named(
    empty: Database, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    if empty.is_sqlite:
        pytest.skip("SQLite has one writer")
    monkeypatch.setattr(migrate, "LOCK_WITHIN", "50ms")
    monkeypatch.setattr(migrate, "PAUSES", (0.01, 0.01))
    await migrate.upgrade(empty)
    later("0900", ALTERS)
    async with empty.write() as long:
        await long.execute(text("SELECT count(*) FROM work"))
        with pytest.raises(migrate.HeldUpError, match="pg_stat_activity"):
            await migrate.upgrade(empty)
    assert await migrate.current(empty) != "0900"
