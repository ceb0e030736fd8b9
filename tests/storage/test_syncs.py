"""Syncs as they are kept: whole, changed only while they may be, and listed newest first."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy.exc import IntegrityError

from databases import add_connection
from tieout_server.storage import syncs
from tieout_server.storage.database import Database
from tieout_server.storage.syncs import Resolution, StoredLine, SyncFault, SyncRecord

AT = datetime(2026, 11, 22, 12, 0, 0, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
async def _connection(database: Database) -> None:
    await add_connection(database, "con1")


def _sync(ordinal: int = 1, **stated: Any) -> SyncRecord:  # noqa: ANN401 - any field of a sync
    fields: dict[str, Any] = {
        "id": f"s{ordinal}",
        "connection_id": "con1",
        "ordinal": ordinal,
        "mode": "FULL",
        "state": "QUEUED",
    }
    return SyncRecord(**(fields | {"created_at": AT, "updated_at": AT} | stated))


async def _insert(database: Database, *made: SyncRecord) -> None:
    async with database.write() as tx:
        for sync in made:
            await syncs.insert(tx, sync)


async def _get(database: Database, sync_id: str = "s1", *, lock: bool = False) -> SyncRecord | None:
    async with database.write() as tx:
        return await syncs.get(tx, sync_id, lock=lock)


async def test_a_sync_comes_back_as_it_was(database: Database) -> None:
    whole = _sync(
        phase="HISTORY", entities=("contacts", "invoices"), requested_by="ruth", percent=12.34, eta_at=AT,
        waiting_by="OPERATOR", waiting_until=AT + timedelta(seconds=2), fault=SyncFault("BUG", "A bug.", "OPERATOR"),
        milestones={"COLLECTIBLE_READY": AT}, failures=3, calls=40, bytes_wire=2**40, started_at=AT, ended_at=AT,
        resolution=Resolution("DISCARD", "A mishap.", AT),
    )  # fmt: skip
    await _insert(database, whole, _sync(2))
    assert await _get(database) == whole
    assert await _get(database, lock=True) == whole
    assert await _get(database, "s2") == _sync(2)
    assert await _get(database, "another") is None


async def test_a_sync_that_has_ended_is_not_changed_by_whoever_knew_it_before(database: Database) -> None:
    await _insert(database, _sync())
    ended = _sync(state="CANCELLED", calls=3, ended_at=AT)
    async with database.write() as tx:
        assert await syncs.save(tx, ended, while_in=("QUEUED", "RUNNING"))
        assert not await syncs.save(tx, _sync(state="RUNNING", calls=2), while_in=("QUEUED", "RUNNING"))
    assert await _get(database) == ended


async def test_a_connection_cannot_have_two_syncs_of_one_number(database: Database) -> None:
    await _insert(database, _sync())
    with pytest.raises(IntegrityError):
        await _insert(database, _sync(id="another"))


async def test_syncs_are_listed_newest_first_by_pages_and_by_state(database: Database) -> None:
    await _insert(database, *(_sync(n, state="FAILED" if n % 2 else "SUCCEEDED") for n in range(1, 6)))
    async with database.read() as tx:
        assert (await syncs.latest(tx, "con1")) == _sync(5, state="FAILED")
        assert [s.ordinal for s in await syncs.page(tx, "con1", limit=2)] == [5, 4]
        assert [s.ordinal for s in await syncs.page(tx, "con1", before=4, limit=9)] == [3, 2, 1]
        assert [s.ordinal for s in await syncs.page(tx, "con1", states=("SUCCEEDED",), limit=9)] == [4, 2]
        assert await syncs.page(tx, "another", limit=9) == []
        assert await syncs.latest(tx, "another") is None


async def test_lines_are_kept_by_name_and_read_by_rank(database: Database) -> None:
    await _insert(database, _sync())
    lines = [StoredLine("invoices", 1, b"{}"), StoredLine("contacts", 0, b"{}")]
    async with database.write() as tx:
        await syncs.put_lines(tx, "s1", lines)
        await syncs.put_lines(tx, "s1", [msgspec.structs.replace(lines[0], body=b"{1}")])
        await syncs.put_lines(tx, "s1", [])
        assert await syncs.lines(tx, "s1") == [StoredLine("contacts", 0, b"{}"), StoredLine("invoices", 1, b"{1}")]
        assert await syncs.lines(tx, "another") == []
