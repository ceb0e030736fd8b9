"""Payments that wait are told what for, some at a time."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from fakes import SettableClock, _database
from paying import CONNECTION, KilledError, books_with, connect, process
from tieout_server.storage import connections

MANY = 60
"""More than one transaction tells."""


async def test_of_many_that_wait_no_transaction_tells_all(tmp_path: Path) -> None:
    path = tmp_path / "tieout.db"
    await (await _database(path)).close()
    clock = SettableClock()
    one = process(f"sqlite:///{path}", books_with(clock, {"i1": "100"}))
    await connect(one)
    made = [await one.pay(f"p{number}", "1", ("i1", "1")) for number in range(MANY)]
    async with one.database.write() as tx:
        link = await connections.get(tx, CONNECTION)
        assert link
        await connections.save(tx, msgspec.structs.replace(link, state="RECONNECT_REQUIRED"))
    one.database.dies_after = one.database.commits + 3  # taken, held, and told some
    with pytest.raises(KilledError):
        await one.slice()
    assert len([export for export in made if (await one.now(export)).error]) == 50
    one.database.dies_after = None
    clock.time += timedelta(minutes=1)
    await one.slice()
    assert {len((await one.now(export)).history) for export in made} == {2}, "each is told once"
    await one.dies()
