"""What was booked is never lost, and what nobody can ask for any more is forgotten."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from fakes import World
from tieout_server.connections.authorisation import CONSENT_LIFE
from tieout_server.connections.messages import Connect
from tieout_server.housekeeping import CONSENTS_KEPT, REQUESTS_KEPT, TOKENS_KEPT, Housekeeping
from tieout_server.ledger.books import Purpose
from tieout_server.ledger.calls import Calls, CallsInMemory
from tieout_server.storage import calls, tables, tokens

pytestmark = pytest.mark.timeout(60)

SEVEN = Calls(purpose=Purpose.FIRST_SYNC, status=200, calls=7, wire_bytes=70, body_bytes=700)


@pytest.fixture
def booked() -> CallsInMemory:
    return CallsInMemory()


@pytest.fixture
def housekeeping(around: World, booked: CallsInMemory) -> Housekeeping:
    return Housekeeping(around.database, around.subjects.feed, booked, around.clock)


async def used(around: World, tenant: str = "t1") -> list[tuple[int, int, int]]:
    async with around.database.read() as tx:
        usage = await calls.usage(tx, tenant, around.clock.now().date())
    return [(row.call_count, row.bytes_wire, row.bytes_body) for row in usage]


async def test_what_was_booked_is_written_once(
    around: World, booked: CallsInMemory, housekeeping: Housekeeping
) -> None:
    booked.book("t1", SEVEN)
    booked.book("t2", SEVEN)
    await housekeeping.book_calls()
    await housekeeping.book_calls()
    assert await used(around, "t1") == await used(around, "t2") == [(7, 70, 700)]


async def test_bookings_survive_a_write_that_was_cancelled(
    around: World, booked: CallsInMemory, housekeeping: Housekeeping
) -> None:
    booked.book("t1", SEVEN)
    async with around.database.write():  # the one writer of SQLite is busy
        booking = asyncio.create_task(housekeeping.book_calls())
        while booked.organisations():  # noqa: ASYNC110 - until it has taken them
            await asyncio.sleep(0)
        booked.book("t1", SEVEN)
        booking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await booking
    await housekeeping.book_calls()
    assert await used(around) == [(14, 140, 1400)]


async def test_bookings_survive_a_write_that_failed(
    around: World, booked: CallsInMemory, housekeeping: Housekeeping
) -> None:
    booked.book("t1", SEVEN)
    async with around.database.write() as tx:
        await tx.execute(text("ALTER TABLE calls RENAME TO calls_away"))
    with pytest.raises(OperationalError):
        await housekeeping.book_calls()
    async with around.database.write() as tx:
        await tx.execute(text("ALTER TABLE calls_away RENAME TO calls"))
    await housekeeping.book_calls()
    assert await used(around) == [(7, 70, 700)]


async def test_requests_and_consents_are_remembered_as_long_as_promised_and_then_forgotten(
    around: World, housekeeping: Housekeeping
) -> None:
    async def remembered() -> tuple[int, int]:
        async with around.database.read() as tx:
            requests = await tx.execute(select(func.count()).select_from(tables.requests))
            consents = await tx.execute(select(func.count()).select_from(tables.authorisations))
            return requests.scalar_one(), consents.scalar_one()

    await around.connections.connect(Connect("acme", request_id="request-1"))
    around.clock.time += CONSENT_LIFE + CONSENTS_KEPT
    await housekeeping.tidy()
    assert await remembered() == (1, 1)
    around.clock.time += timedelta(microseconds=1)
    await housekeeping.tidy()
    assert await remembered() == (1, 0)
    around.clock.time += REQUESTS_KEPT
    await housekeeping.tidy()
    assert await remembered() == (0, 0)


async def test_tokens_on_which_nothing_stands_are_kept_for_a_second_try_and_not_for_ever(
    around: World, housekeeping: Housekeeping
) -> None:
    async def is_kept() -> bool:
        async with around.database.read() as tx:
            return await tokens.get(tx, "user-1") is not None

    given = await around.xero.exchange(code="code", code_verifier="verifier")
    async with around.database.write() as tx:
        await around.connections._means.tokens.keep(tx, given)
    around.clock.time += TOKENS_KEPT
    await housekeeping.tidy()
    assert await is_kept()
    around.clock.time += timedelta(microseconds=1)
    await housekeeping.tidy()
    assert not await is_kept()
