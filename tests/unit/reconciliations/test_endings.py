"""What becomes of a reconciliation that is under way when its connection is ended."""

import asyncio

from open_organisation import Around
from tieout_server.connections.messages import Disconnect
from tieout_server.errors import XeroUnavailableError
from tieout_server.reconciliations.messages import StartReconciliation
from tieout_server.reconciliations.service import ENDED, WORK
from tieout_server.reconciliations.state import ReconciliationState
from tieout_server.reconciliations.watch import ReconciliationWatch, Seen


async def begun(around: Around) -> str:
    """A reconciliation that is under way."""
    return (await around.service.start(StartReconciliation(around.connection_id))).reconciliation.id


async def end(around: Around) -> None:
    """End the connection, and ask for its data to be erased."""
    await around.world.connections.disconnect(Disconnect(around.connection_id, purge_data=True))


async def is_failed(around: Around, run_id: str) -> bool:
    """Whether it failed with the connection, and when is told."""
    run = await around.service.get(run_id)
    return (run.state, run.error_sentence, bool(run.ended_at)) == (ReconciliationState.FAILED, ENDED, True)


async def test_a_reconciliation_ends_with_its_connection_and_so_does_its_watch(around: Around) -> None:
    run_id = await begun(around)
    watch = ReconciliationWatch(around.world.database, around.means.feed)
    seen: list[Seen] = []
    is_told = asyncio.Event()

    async def listen() -> None:
        async for one in watch.follow(run_id, ""):
            seen.append(one)
            is_told.set()

    listening = asyncio.create_task(listen())
    await is_told.wait()
    await end(around)

    async with asyncio.timeout(5):
        await listening
    assert [one.reconciliation.state for one in seen if one.reconciliation] == ["QUEUED", "FAILED"]
    assert await is_failed(around, run_id)
    assert await around.work.perform(await around.job(WORK)) is None


async def test_what_is_in_flight_as_the_connection_ends_changes_nothing_any_more(around: Around) -> None:
    run_id = await begun(around)
    job = await around.job(WORK)
    ends: list[asyncio.Task[None]] = []

    def end_now(_: str) -> None:
        if not ends:
            ends.append(asyncio.create_task(end(around)))

    around.books.before_call = end_now
    read = around.books.read

    async def read_slowly(*asked: object) -> object:
        page = await read(*asked)  # type: ignore[arg-type] # what the run asked
        await ends[0]
        return page

    around.books.read = read_slowly  # type: ignore[method-assign, assignment] # slower
    assert await around.work.perform(job) is None
    assert await is_failed(around, run_id)


async def test_trouble_after_the_end_parks_nothing(around: Around) -> None:
    run_id = await begun(around)
    job = await around.job(WORK)
    read = around.books.read

    async def fail(*asked: object) -> object:
        await read(*asked)  # type: ignore[arg-type] # what the run asked
        await end(around)
        raise XeroUnavailableError("Xero does not answer.")

    around.books.read = fail  # type: ignore[method-assign, assignment] # fails
    assert await around.work.perform(job) is None
    assert await is_failed(around, run_id)
