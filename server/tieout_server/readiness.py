"""Whether this process can serve: the database answers, with the tables that this version works with."""

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import SQLAlchemyError

from tieout_server import log, measures
from tieout_server.errors import OperatorMustActError, StorageUnavailableError
from tieout_server.storage.database import Database
from tieout_server.storage.migrate import check_fits

logger = log.get("readiness")

READY_WITHIN = 2.0
"""Seconds within which the database has to answer for this process to call itself ready."""
LOOK_EVERY = 5.0
"""Seconds between looks at a database that is there."""
LOOK_AGAIN = 1.0
"""Seconds between looks at one that is not."""
AWAY_AFTER = 3
"""Looks in a row without an answer after which callers are told: a failover of a moment is ridden out."""

Tell = Callable[[bool], Awaitable[None]]


class Readiness:
    """Whether this process can serve, asked by probes, and told to whoever watches health. Run it once."""

    def __init__(self, database: Database, is_stopping: Callable[[], bool]) -> None:
        self._database = database
        self._is_stopping = is_stopping

    async def why_not(self) -> str:
        """Why this process cannot serve; empty while it can. Strangers may read it."""
        return "this server is being stopped" if self._is_stopping() else await self._trouble()

    async def _trouble(self) -> str:
        try:
            async with asyncio.timeout(READY_WITHIN):
                await check_fits(self._database)
        except TimeoutError:
            return "the database does not answer in time"
        except StorageUnavailableError:
            return "the database cannot be used"
        except OperatorMustActError as wrong:
            return wrong.sentence
        except SQLAlchemyError as error:  # not its words: they may hold addresses
            return f"the database cannot be read: {type(error).__name__}"
        return ""

    async def watch(self, tell: Tell) -> None:
        """Tell, until cancelled, whenever this process can no longer serve, or can again."""
        in_vain, was_told = 0, True
        while True:
            why = await self._trouble()
            in_vain = in_vain + 1 if why else 0
            measures.DATABASE_UP.set(0 if why else 1)
            serves = in_vain < AWAY_AFTER if was_told else not why
            if serves != was_told:
                logger.warning("health", serving=serves, why=why)
                await tell(serves)
            was_told = serves
            await asyncio.sleep(LOOK_AGAIN if why else LOOK_EVERY)
