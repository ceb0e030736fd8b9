"""Reading what balances consist of: a stream that is broken off leaves nothing open."""

import asyncio
import contextlib
import gc
import warnings
from collections.abc import Iterator

import pytest

from databases import add_connection
from documents import AT, contact, invoice
from tieout_server.reconciliations.overview import Overview
from tieout_server.storage import mirror, open_items
from tieout_server.storage.database import Database


@pytest.fixture(autouse=True)
async def _customers(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_items, "AT_ONCE", 2)
    await add_connection(database, "con1")
    async with database.write() as tx:
        await mirror.save(tx, "con1", [contact(f"c{n}") for n in range(20)], seen_in=1, at=AT)
        await mirror.save(tx, "con1", [invoice(f"i{n}", xero_contact_id=f"c{n}") for n in range(20)], seen_in=1, at=AT)


async def overview(database: Database) -> Overview:
    async with database.read() as tx:
        found = Overview({})
        await found.take(open_items.standings(tx, "con1"))
    return found


@pytest.fixture
def others_are_collected() -> Iterator[None]:
    """What tests before this one left to be collected is none of its business; nor is what stays, so nobody looks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("others_are_collected")
async def test_a_pass_that_is_cancelled_anywhere_leaves_no_cursor_open(database: Database) -> None:
    for steps in range(60):
        work = asyncio.create_task(overview(database))
        for _ in range(steps):
            await asyncio.sleep(0)
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        del work
        gc.collect()

    assert (await overview(database)).customers == 20


@pytest.mark.usefixtures("others_are_collected")
async def test_a_pass_that_is_cancelled_again_while_it_ends_leaves_no_cursor_open(database: Database) -> None:
    for waited in range(60):
        work = asyncio.create_task(overview(database))
        await asyncio.sleep(waited / 4_000)
        while not work.done():
            work.cancel()
            await asyncio.sleep(0)
        del work
        gc.collect()

    assert (await overview(database)).customers == 20


@pytest.mark.usefixtures("others_are_collected")
async def test_a_stream_that_is_left_early_is_closed(database: Database) -> None:
    async with database.read() as tx:
        async with contextlib.aclosing(open_items.standings(tx, "con1")) as rows:
            async for first in rows:
                assert first.xero_contact_id == "c0"
                break
        gc.collect()
        assert len([one async for one in open_items.standings(tx, "con1")]) == 20
