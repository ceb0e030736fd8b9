"""The work of comparing without being asked: reconciliations of whole organisations, and what changed since."""

from datetime import datetime, timedelta

import msgspec

from tieout_server import log
from tieout_server.connections.service import Connections
from tieout_server.connections.state import ConnectionState
from tieout_server.errors import BugError, OperatorMustActError, PersonMustActError, TryAgainError
from tieout_server.ledger.links import Link
from tieout_server.reconciliations.plan import Plan, first_plan
from tieout_server.reconciliations.run import Run, StoppedError, tell
from tieout_server.reconciliations.service import WORK
from tieout_server.reconciliations.state import UNDER_WAY, ReconciliationState
from tieout_server.storage import connections, reconciliations
from tieout_server.storage.reconciliations import ReconciliationRecord
from tieout_server.syncs import trouble as troubles
from tieout_server.syncs.intake import DoubtedError
from tieout_server.syncs.means import Means
from tieout_server.work.engine import Job, Lane

logger = log.get("reconciliations")

FIRST_RETRY = timedelta(seconds=2)
LAST_RETRY = timedelta(minutes=5)


class ReconciliationWork:
    """The reconciliations of all connections, carried out slice by slice."""

    def __init__(self, means: Means, links: Connections) -> None:
        self._means = means
        self._links = links
        means.engine.register(WORK, Lane.READ, self.perform)

    async def perform(self, job: Job) -> datetime | None:
        """Do one slice of the connection's reconciliation."""
        found = await self._take_up(job)
        if found is None:
            return None
        link, run, plan = found
        try:
            return await Run(self._means, job, link, run, plan).go_on(self._links.books(link))
        except PersonMustActError as refusal:
            if isinstance(refusal, OperatorMustActError):
                return await self._wait(job, refusal)
            link = await self._links.access_lost(link.id, refusal)
            if link.state == ConnectionState.CONNECTED:
                return troubles.after_refusal(link, self._means.clock.now())
            await self._fail(job, refusal.sentence)
        except StoppedError:
            logger.info("reconciliation was ended", reconciliation_id=run.id)
        except TryAgainError as trouble:
            return await self._wait(job, trouble)
        except DoubtedError as doubted:
            await self._fail(job, doubted.doubt.sentence)
        except BugError as bug:
            logger.exception("reconciliation failed", reconciliation_id=run.id)
            await self._fail(job, bug.sentence)
        return None

    async def _take_up(self, job: Job) -> tuple[Link, ReconciliationRecord, Plan] | None:
        async with self._means.database.write() as tx:
            await job.hold(tx)
            link = await connections.get(tx, job.connection_id)
            run = await reconciliations.latest(tx, job.connection_id)
            if link is None or run is None or run.state not in UNDER_WAY:
                return None
            work = await reconciliations.work_of(tx, run.id)
        return link, run, msgspec.json.decode(work, type=Plan) if work else first_plan()

    async def _wait(self, job: Job, trouble: TryAgainError | OperatorMustActError) -> datetime | None:
        """Park the reconciliation until the trouble has passed; no worker sleeps meanwhile."""
        async with self._means.database.write() as tx:
            await job.hold(tx)
            run = await reconciliations.latest(tx, job.connection_id)
            assert run is not None, "it was taken up"
            now, failures = self._means.clock.now(), run.failures + 1
            until = trouble.retry_at if isinstance(trouble, TryAgainError) else None
            again_at = until or now + min(FIRST_RETRY * 2 ** min(failures, 10), LAST_RETRY)
            waiting = msgspec.structs.replace(
                run,
                state=ReconciliationState.WAITING,
                failures=failures,
                updated_at=now,
                started_at=run.started_at or now,
            )
            if not await reconciliations.save(tx, waiting, while_in=UNDER_WAY):
                return None  # it ended with its connection
            await tell(tx, self._means, waiting)
        logger.warning("reconciliation waits", reconciliation_id=run.id, until=again_at, trouble=trouble.sentence)
        return again_at

    async def _fail(self, job: Job, sentence: str) -> None:
        async with self._means.database.write() as tx:
            await job.hold(tx)
            run = await reconciliations.latest(tx, job.connection_id)
            assert run is not None, "it was taken up"
            now = self._means.clock.now()
            failed = msgspec.structs.replace(
                run, state=ReconciliationState.FAILED, error_sentence=sentence, ended_at=now, updated_at=now
            )
            if await reconciliations.save(tx, failed, while_in=UNDER_WAY):
                await tell(tx, self._means, failed)
