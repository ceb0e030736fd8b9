"""A request that comes twice at the same moment is answered once: the second waits for the first."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

from tieout_server.storage import requests
from tieout_server.storage.database import Database
from tieout_server.storage.requests import Answered

AT = datetime(2026, 11, 22, tzinfo=UTC)


async def _answer(database: Database, method: str, request_id: str, answer: bytes) -> Answered:
    """The answer to this request: the earlier one, or else this one, which is kept."""
    async with database.write() as tx:
        if earlier := await requests.find(tx, method, request_id):
            return earlier
        await asyncio.sleep(0)  # whatever the request changes
        answered = Answered("digest", answer)
        await requests.keep(tx, method, request_id, answered, AT)
        return answered


async def test_equal_requests_at_once_get_one_answer(database: Database) -> None:
    answers = await asyncio.gather(*(_answer(database, "Connect", "r1", bytes([n])) for n in range(8)))
    assert len({answered.answer for answered in answers}) == 1


async def test_an_answer_that_was_rolled_back_is_no_answer(database: Database) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with database.write() as tx:
            await requests.keep(tx, "Connect", "r1", Answered("digest", b"never"), AT)
            raise ZeroDivisionError
    assert (await _answer(database, "Connect", "r1", b"first")).answer == b"first"


async def test_methods_do_not_share_their_request_ids(database: Database) -> None:
    for method in ("Connect", "StartSync"):
        assert (await _answer(database, method, "r1", method.encode())).answer == method.encode()


async def test_what_is_older_than_asked_is_forgotten(database: Database) -> None:
    await _answer(database, "Connect", "r1", b"answer")
    async with database.write() as tx:
        assert await requests.prune(tx, AT) == 0
        assert await requests.prune(tx, AT + timedelta(microseconds=1)) == 1
        assert await requests.find(tx, "Connect", "r1") is None
