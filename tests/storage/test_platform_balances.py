"""What callers submit replaces what they submitted before, exact, on both databases."""

from datetime import UTC, datetime
from decimal import Decimal

from databases import add_connection
from tieout_server.storage import platform_balances
from tieout_server.storage.database import Database
from tieout_server.storage.platform_balances import PlatformBalance

AT = datetime(2026, 11, 22, tzinfo=UTC)


async def test_a_submission_replaces_the_one_before_and_no_other_connections(database: Database) -> None:
    await add_connection(database, "con_1")
    await add_connection(database, "con_2")
    first = [PlatformBalance(f"c{n}", "NZD", Decimal(n)) for n in range(2500)]
    async with database.write() as tx:
        for connection in ("con_1", "con_2"):
            await platform_balances.replace(tx, connection, first, AT)
    async with database.write() as tx:
        await platform_balances.replace(tx, "con_1", [PlatformBalance("c7", "EUR", Decimal("-0.0001"))], AT)
    async with database.read() as tx:
        assert await platform_balances.of_contacts(tx, "con_1", ["c7"]) == {"EUR": Decimal("-0.0001")}
        assert await platform_balances.of_contacts(tx, "con_2", ["c7", "c2499"]) == {"NZD": Decimal(2506)}


async def test_of_whom_nothing_was_said_there_is_nothing(database: Database) -> None:
    await add_connection(database, "con_1")
    async with database.read() as tx:
        assert await platform_balances.of_contacts(tx, "con_1", ["c1"]) == {}
