"""What callers do with reconciliations: have one customer or a whole organisation compared, and report what is odd."""

import secrets

import msgspec

from tieout_server import log
from tieout_server.connections.service import Connections
from tieout_server.connections.state import check_can_read, check_is_not_over
from tieout_server.errors import BugError, NotFoundError, NotPermittedNowError, PersonMustActError, TryAgainError
from tieout_server.ledger.links import Link
from tieout_server.reconciliations.messages import Asked, Reconciled, Report, StartReconciliation
from tieout_server.reconciliations.one_customer import OneCustomer
from tieout_server.reconciliations.references import contacts_meant
from tieout_server.reconciliations.run import tell
from tieout_server.reconciliations.state import UNDER_WAY, ReconciliationState
from tieout_server.storage import cases, connections, customers, discrepancies, reconciliations
from tieout_server.storage.cases import Case
from tieout_server.storage.database import Transaction
from tieout_server.storage.reconciliations import ReconciliationRecord
from tieout_server.syncs.intake import DoubtedError
from tieout_server.syncs.means import Means
from tieout_server.work.engine import Priority
from tieout_server.work.requests import Requests

logger = log.get("reconciliations")

WORK = "reconcile"
"""The kind of work that compares a whole organisation, slice by slice."""
ENDED = "The connection was ended."
"""Why a reconciliation failed that was under way then."""


class Reconciliations:
    """The reconciliations of all connections."""

    def __init__(self, means: Means, links: Connections, requests: Requests) -> None:
        self._means = means
        self._database = means.database
        self._links = links
        self._requests = requests
        links.at_end(self._end)

    async def reconcile_customer(self, connection_id: str, customer_id: str) -> Reconciled:
        """Read one customer afresh, repair what was stale here, and say what is still off.

        Takes calls to Xero, and seconds. A repeat reads again; cancelled, what was repaired stays repaired.

        Raises:
            NotFoundError: there is no such connection or customer.
            ConnectionNotUsableError: somebody has to act first.
            NotPermittedNowError: so much of it was removed in Xero that a gate closed; nothing was taken in.
            XeroUnavailableError, CallLimitError: it cannot be compared now.
        """
        async with self._database.read() as tx:
            link = await _link(tx, connection_id)
            customer = await _customer(tx, connection_id, customer_id)
        return await self._compare(link, customer)

    async def start(self, asked: StartReconciliation) -> Asked:
        """Have a whole organisation compared. While that is under way it is the answer; there is never a second.

        Raises:
            NotFoundError: there is no such connection.
            ConnectionNotUsableError: somebody has to act first.
            RequestIdReusedError: the request_id came before with other content.
        """
        method = "StartReconciliation"
        async with self._database.write() as tx:
            link = await connections.get(tx, asked.connection_id, lock=True)
            if link is None:
                raise NotFoundError("connection", asked.connection_id)
            if earlier := await self._requests.earlier(tx, method, asked.request_id, asked, Asked):
                return earlier
            check_can_read(link)
            latest = await reconciliations.latest(tx, link.id)
            current = latest if latest and latest.state in UNDER_WAY else None
            run = current or await self._create(tx, link, asked)
            await self._means.engine.wake(tx, WORK, link.id, priority=Priority.ASKED)
            answer = Asked(run, joined=current is not None)
            await self._requests.keep(tx, method, asked.request_id, asked, answer)
            if not answer.joined:
                await tell(tx, self._means, run)
        return answer

    async def get(self, reconciliation_id: str) -> ReconciliationRecord:
        """The reconciliation with this id.

        Raises:
            NotFoundError: there is none.
        """
        async with self._database.read() as tx:
            run = await reconciliations.get(tx, reconciliation_id)
        if run is None:
            raise NotFoundError("reconciliation", reconciliation_id)
        return run

    async def report(self, asked: Report) -> Case:
        """Open a case about a difference that was not flagged, and compare its customers at once.

        The case is there first, and has what was found as soon as that is: cancelled, or where Xero cannot be asked,
        its sentence says how far that is. A repeat is answered with the case as it is.

        Raises:
            NotFoundError: there is no such connection, or what a reference names is not here.
            ConnectionNotUsableError: it was ended, or connected anew meanwhile.
            RequestIdReusedError: the request_id came before with other content.
        """
        method = "ReportDiscrepancy"
        async with self._database.write() as tx:
            link = await _link(tx, asked.connection_id, lock=True)
            if earlier := await self._requests.earlier(tx, method, asked.request_id, asked, str):
                return await _case(tx, earlier)
            check_is_not_over(link)
            meant = await contacts_meant(tx, asked)
            case = Case(
                id=f"cas_{secrets.token_hex(10)}",
                connection_id=link.id,
                description=asked.description,
                customer_ids=tuple(meant),
                sentence=_sentence((0, len(meant)), 0, ""),
                created_at=self._means.clock.now(),
            )
            await cases.insert(tx, case)
            await self._requests.keep(tx, method, asked.request_id, asked, case.id)
        return await self._examine(link, case)

    async def _examine(self, link: Link, case: Case) -> Case:
        """Compare its customers one by one; answers the case with what was found."""
        odd = ""
        for before, customer in enumerate(case.customer_ids):
            try:
                await self._compare(link, customer)
            except (PersonMustActError, TryAgainError) as trouble:
                return await self._found(link, case, before, trouble.sentence)
            except (BugError, NotPermittedNowError) as trouble:  # of this customer: it tells nothing about the others
                logger.exception("not compared", connection_id=link.id, customer=customer)
                odd = trouble.sentence
            case = await self._found(link, case, before + 1, odd)
        return case

    async def _found(self, link: Link, case: Case, compared: int, trouble: str) -> Case:
        async with self._database.write() as tx:
            check_is_not_over(await _link(tx, link.id, lock=True), since=link)
            off = await discrepancies.open_of(tx, link.id, case.customer_ids)
            found = msgspec.structs.replace(
                case,
                discrepancy_ids=tuple(one.id for own in off.values() for one in own),
                sentence=_sentence((compared, len(case.customer_ids)), len(off), trouble),
            )
            await cases.update_found(tx, found)
        return found

    async def _compare(self, link: Link, customer: str) -> Reconciled:
        check_can_read(link)
        try:
            return await OneCustomer(self._means, link, self._links.books(link)).compare(customer)
        except DoubtedError as doubted:
            raise NotPermittedNowError(doubted.doubt.sentence, state=doubted.doubt.gate) from doubted
        except PersonMustActError as refusal:
            await self._links.access_lost(link.id, refusal)
            raise

    async def _end(self, tx: Transaction, connection_id: str) -> None:
        """Fail what is under way, as the connection ends."""
        run = await reconciliations.latest(tx, connection_id)
        if run is None:
            return
        now = self._means.clock.now()
        failed = msgspec.structs.replace(
            run, state=ReconciliationState.FAILED, error_sentence=ENDED, ended_at=now, updated_at=now
        )
        if await reconciliations.save(tx, failed, while_in=UNDER_WAY):
            await tell(tx, self._means, failed)

    async def _create(self, tx: Transaction, link: Link, asked: StartReconciliation) -> ReconciliationRecord:
        now = self._means.clock.now()
        run = ReconciliationRecord(
            id=f"rec_{secrets.token_hex(10)}",
            connection_id=link.id,
            ordinal=await connections.next_sync_ordinal(tx, link.id),
            state=ReconciliationState.QUEUED,
            max_calls=asked.max_calls,
            created_at=now,
            updated_at=now,
        )
        await reconciliations.insert_new(tx, run)
        return run


async def _case(tx: Transaction, case_id: str) -> Case:
    case = await cases.get(tx, case_id)
    if case is None:  # it was purged since
        raise NotFoundError("case", case_id)
    return case


async def _link(tx: Transaction, connection_id: str, *, lock: bool = False) -> Link:
    link = await connections.get(tx, connection_id, lock=lock)
    if link is None:
        raise NotFoundError("connection", connection_id)
    return link


async def _customer(tx: Transaction, connection_id: str, customer_id: str) -> str:
    """The customer that this id names, over merges."""
    now = (await customers.merges(tx, connection_id, [customer_id])).get(customer_id, customer_id)
    if await customers.find(tx, connection_id, now) is None:
        raise NotFoundError("customer", customer_id)
    return now


def _sentence(compared: tuple[int, int], off: int, trouble: str) -> str:
    """What was found of so many customers, of so many that it is about."""
    done, of = compared
    if trouble:
        return f"Xero could not be asked about all of them now: {trouble}"
    if done < of:
        return f"{done} of {of} customers were read afresh from Xero; it went no further."
    people = "The customer was" if of == 1 else f"{of} customers were"
    if not off:
        return f"{people} read afresh from Xero, and both sides agree."
    return f"{people} read afresh from Xero; {'it is' if of == 1 else f'{off} of them are'} off balance."
