"""Erasing here who was erased in Xero: by itself once a read tells of it, and at once when somebody asks for it."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from tieout_server import log
from tieout_server.connections.service import Connections
from tieout_server.errors import ContactNotErasedError, NotFoundError
from tieout_server.ledger.books import Purpose
from tieout_server.ledger.documents import Contact, ContactStatus, Entity
from tieout_server.ledger.links import Link
from tieout_server.storage import connections, customers, erasure
from tieout_server.storage.database import Transaction
from tieout_server.syncs import person
from tieout_server.syncs.explain import stated
from tieout_server.syncs.means import Means
from tieout_server.work.engine import Job
from tieout_server.work.requests import Requests

logger = log.get("syncs")


class EraseCustomer(msgspec.Struct, frozen=True):
    """A request to erase one person, or to say how much that would be."""

    connection_id: str
    customer_id: str
    dry_run: bool = False
    request_id: str = ""


class Erasures:
    """Erases people, each in one transaction. Killed in between, it goes on with the next one."""

    def __init__(self, means: Means, links: Connections, requests: Requests) -> None:
        self._means = means
        self._links = links
        self._requests = requests
        means.engine.register(person.WORK, person.LANE, self.perform)

    async def perform(self, job: Job) -> datetime | None:
        """Erase everybody of whom something is left."""
        async with self._means.database.read() as tx:
            people = await erasure.people(tx, job.connection_id)
        for customer in people:
            async with self._means.database.read() as tx:
                left = await person.count(tx, job.connection_id, customer)
            if any(left.values()):
                async with self._means.database.write() as tx:
                    await connections.get(tx, job.connection_id, lock=True)
                    await job.hold(tx)
                    await self._erase(tx, job.connection_id, customer)
        return None

    async def erase(self, asked: EraseCustomer) -> Mapping[str, int]:
        """Erase a customer whom Xero has erased, or no longer knows; says how much that was, by kind.

        Of a contact that is erased here already Xero is not asked.

        Raises:
            NotFoundError: there is no such connection, or no such contact in it.
            ContactNotErasedError: Xero has it as any other; nothing was changed.
            ConnectionNotUsableError: Xero would have to be asked, and somebody has to act first.
            TryAgainError: Xero would have to be asked, and cannot be at this moment.
            RequestIdReusedError: the request_id came before with other content.
        """
        method, name = "EraseCustomer", asked.request_id
        async with self._means.database.read() as tx:
            if earlier := await self._requests.earlier(tx, method, name, asked, dict[str, int]):
                return earlier
            link = await connections.get(tx, asked.connection_id)
            if link is None:
                raise NotFoundError("connection", asked.connection_id)
            contact = await _now(tx, asked)
            customer = contact.xero_contact_id
        if contact.status != ContactStatus.GDPRREQUEST:
            await self._check_is_gone(link, customer)
        if asked.dry_run:
            async with self._means.database.read() as tx:
                return await person.count(tx, link.id, customer)
        async with self._means.database.write() as tx:
            await connections.get(tx, link.id, lock=True)
            if earlier := await self._requests.earlier(tx, method, name, asked, dict[str, int]):
                return earlier  # the same came twice at the same time
            rows = await person.count(tx, link.id, customer)
            await self._requests.keep(tx, method, name, asked, rows)
            await self._erase(tx, link.id, customer)
        return rows

    async def _check_is_gone(self, link: Link, customer: str) -> None:
        """Check that Xero has erased this contact, or does not know it."""
        ids = [customer]
        found = await stated(
            self._links, link, lambda books: books.by_ids(Entity.CONTACTS, ids, Purpose.RECONCILIATION)
        )
        if any(one.xero_contact_id == customer and one.status != ContactStatus.GDPRREQUEST for one in found):
            raise ContactNotErasedError(
                "Xero has this contact as any other: the next read would bring it back. Have it erased in Xero first.",
                connection_id=link.id,
                customer_id=customer,
            )

    async def _erase(self, tx: Transaction, connection_id: str, customer: str) -> None:
        await person.erase(tx, self._means.feed, connection_id, customer, self._means.clock.now())
        logger.info("person erased", connection_id=connection_id, customer_id=customer)


async def _now(tx: Transaction, asked: EraseCustomer) -> Contact:
    """The contact that is meant, over merges, as it is here."""
    named = asked.customer_id
    now = (await customers.merges(tx, asked.connection_id, [named])).get(named, named)
    found = await customers.contacts_named(tx, asked.connection_id, [now])
    if not found:
        raise NotFoundError("customer", named)
    return found[0].contact
