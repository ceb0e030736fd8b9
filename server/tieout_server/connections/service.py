"""What callers do with connections: connect, come back from consent, choose, look, and end them."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from tieout_server.connections.access import Access, AtStart
from tieout_server.connections.consent import CHOOSE, COMPLETE, Consents
from tieout_server.connections.leave import AtEnd, Leave
from tieout_server.connections.look_after import LookAfter
from tieout_server.connections.means import Means
from tieout_server.connections.merchants import Merchants
from tieout_server.connections.messages import (
    Begun,
    Checked,
    Choose,
    Completed,
    Connect,
    Disconnect,
    Purged,
    PurgeMerchant,
    Reconnect,
    Return,
    Settled,
    Snapshot,
    Started,
)
from tieout_server.connections.purge import Purge
from tieout_server.connections.record import Record
from tieout_server.connections.state import HAS_ACCESS, ConnectionState, check_can_read, check_can_reconnect
from tieout_server.connections.tokens import TokensOf
from tieout_server.errors import AccessRevokedError, ConnectionNotUsableError, PersonMustActError
from tieout_server.ledger.books import WritableBooks
from tieout_server.ledger.links import CALLER, Gap, Link, LinkChangeKind, LinkEvent, Reason
from tieout_server.storage import connections, events, history, tokens
from tieout_server.storage.connections import Scope
from tieout_server.storage.database import Transaction

PAGE = 1000
"""Connections that a snapshot reads at a time."""
POLL = 0.25
"""Seconds between looks whether a consent that somebody has in hand is settled or given back."""


class Connections:
    """The connections of all merchants."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._record = Record(means.feed, means.clock)
        self._access = Access(means, self._record)
        self._consents = Consents(means, self._record, self._access)
        self._leave = Leave(means, self._record)
        LookAfter(means, self._access)
        Purge(means, self._record)

    async def connect(self, asked: Connect) -> Started:
        """Make a connection for a merchant and open the way to consent.

        Raises:
            InvalidRequestError: the return_url is not one of those allowed.
            RequestIdReusedError: the request_id came before with other content.
        """
        self._means.return_urls.check(asked.return_url)
        async with self._means.database.write() as tx:
            if earlier := await self._means.requests.earlier(tx, "Connect", asked.request_id, asked, Begun):
                return Started(await self._record.get(tx, earlier.connection_id), earlier.consent)
            now = self._means.clock.now()
            link = Link(
                id=f"con_{secrets.token_hex(10)}",
                merchant_id=asked.merchant_id,
                state=ConnectionState.PENDING_AUTHORISATION,
                created_at=now,
                updated_at=now,
            )
            await connections.insert(tx, link)
            started = Started(link, await self._means.authorisations.begin(tx, link.id, asked.return_url))
            await self._means.requests.keep(tx, "Connect", asked.request_id, asked, Begun(link.id, started.consent))
            await self._record.tell(tx, link, LinkChangeKind.AUTHORISATION_STARTED, actor=CALLER)
        return started

    async def reconnect(self, asked: Reconnect) -> Started:
        """Open a new way to consent for an existing connection; data, settings and history stay.

        Raises:
            NotFoundError: there is no such connection.
            NotPermittedNowError: it was never connected.
            InvalidRequestError: the return_url is not one of those allowed.
            RequestIdReusedError: the request_id came before with other content.
        """
        self._means.return_urls.check(asked.return_url)
        while True:
            async with self._means.database.write() as tx:
                if earlier := await self._means.requests.earlier(tx, "Reconnect", asked.request_id, asked, Begun):
                    return Started(await self._record.get(tx, earlier.connection_id), earlier.consent)
                link = await self._record.get(tx, asked.connection_id, lock=True)
                check_can_reconnect(link)
                user = link.authorised_by.xero_user_id if link.authorised_by else ""
                if not await self._means.tokens.is_leaving(tx, user):
                    return await self._begin_again(tx, link, asked)
            await self._means.tokens.wait_for_leave(user)  # the removal would take with it what is linked meanwhile

    async def _begin_again(self, tx: Transaction, link: Link, asked: Reconnect) -> Started:
        """Open a way to consent for a connection that is locked."""
        started = Started(link, await self._means.authorisations.begin(tx, link.id, asked.return_url))
        await self._means.requests.keep(tx, "Reconnect", asked.request_id, asked, Begun(link.id, started.consent))
        await self._record.tell(tx, link, LinkChangeKind.AUTHORISATION_STARTED, from_state=link.state, actor=CALLER)
        return started

    async def complete(self, back: Return) -> Completed:
        """Take a person back from Xero: their code becomes tokens, and the connection is settled if it can be.

        Raises:
            ConsentStateError: the state is unknown, used or expired; nothing has changed.
            PersonMustActError: the consent cannot be used; the connection's reason says why.
            OrganisationAlreadyConnectedError: another connection has the organisation.
            RequestIdReusedError: the request_id came before with other content.
            TryAgainError: Xero does not answer; the same state may be brought again and goes on from there.
        """
        while True:
            async with self._means.database.write() as tx:
                if earlier := await self._means.requests.earlier(tx, COMPLETE, back.request_id, back, Settled):
                    return Completed(await self._record.get(tx, earlier.connection_id), earlier.return_url)
                returned = await self._means.authorisations.redeem(tx, back.state)
            if returned:
                return Completed(await self._consents.take_back(returned, back), returned.return_url)
            await self._means.clock.sleep(POLL)

    async def choose(self, asked: Choose) -> Link:
        """Settle a connection on one of the organisations that its consent gave; a repeat answers as the first did.

        Raises:
            NotFoundError: there is no such connection.
            NotPermittedNowError: there is nothing to choose from.
            InvalidRequestError: the organisation is none of the choices.
            NotAdministratorError: the user may not do what we need in that organisation.
            OrganisationAlreadyConnectedError: another connection has it.
            RequestIdReusedError: the request_id came before with other content.
        """
        async with self._means.database.write() as tx:
            earlier = await self._means.requests.earlier(tx, CHOOSE, asked.request_id, asked, Settled)
            link = await self._record.get(tx, earlier.connection_id if earlier else asked.connection_id)
        if earlier or (link.state == ConnectionState.CONNECTED and link.xero_tenant_id == asked.xero_tenant_id):
            return link
        return await self._consents.choose(link, asked)

    async def get(self, connection_id: str) -> Link:
        """The connection with this id.

        Raises:
            NotFoundError: there is none.
        """
        async with self._means.database.read() as tx:
            return await self._record.get(tx, connection_id)

    async def page(self, scope: Scope, *, after: tuple[datetime, str] | None, limit: int) -> Sequence[Link]:
        """Connections in scope, oldest first, those behind this `created_at` and id."""
        async with self._means.database.read() as tx:
            return await connections.page(tx, scope, after=after, limit=limit)

    async def snapshot(self, scope: Scope, *, empty: bool = False) -> Snapshot:
        """Every connection in scope (or none), and the position from which events tell what happened since."""
        links: list[Link] = []
        async with self._means.database.read() as tx:
            position = (await events.bounds(tx)).last
            while not empty:
                after = (links[-1].created_at, links[-1].id) if links else None
                batch = await connections.page(tx, scope, after=after, limit=PAGE)
                links.extend(batch)
                if len(batch) < PAGE:
                    break
        return Snapshot(position, links)

    async def credentials_expire_at(self, links: Sequence[Link]) -> Mapping[str, datetime]:
        """When the consents behind these connections lapse if they are never used again, by connection id."""
        users = {link.id: link.authorised_by.xero_user_id for link in links if link.authorised_by}
        if not users:
            return {}
        async with self._means.database.read() as tx:
            expiries = await tokens.expiries(tx, set(users.values()))
        return {connection_id: expiries[user] for connection_id, user in users.items() if user in expiries}

    def books(self, link: Link) -> WritableBooks:
        """The books behind this connection.

        Raises:
            ConnectionNotUsableError: somebody has to act first.
        """
        check_can_read(link)
        if link.authorised_by is None:
            raise AccessRevokedError(f"Connection {link.id} has no authorising user.", connection_id=link.id)
        return self._means.library.open(
            link.xero_tenant_id, TokensOf(self._means.tokens, link.authorised_by.xero_user_id)
        )

    async def recover(self) -> None:
        """Give back what an earlier process had in hand. Only where this process is the only one on the database."""
        await self._means.tokens.recover()
        async with self._means.database.write() as tx:
            await connections.free_authorisations(tx)

    def at_start(self, start: AtStart) -> None:
        """Have this go on, too, in the transaction in which a connection gets access to its books (again)."""
        self._access.at_start(start)

    def at_end(self, end: AtEnd) -> None:
        """Have this ended, too, in the transaction that disconnects a connection."""
        self._leave.at_end(end)

    async def disconnect(self, asked: Disconnect) -> Link:
        """End a connection; one that is ended is answered as it is, and may still be purged.

        Raises:
            NotFoundError: there is no such connection.
            RequestIdReusedError: the request_id came before with other content.
        """
        return await self._leave.disconnect(asked)

    async def purge_merchant(self, asked: PurgeMerchant) -> Purged:
        """Begin to erase all that is kept of a merchant. Raises what `Merchants.purge` does."""
        return await Merchants(self._means, self._leave).purge(asked)

    async def check(self, connection_id: str) -> Checked:
        """Find out now whether a connection works. One that never did, or was ended, is answered as it is.

        Raises:
            NotFoundError: there is no such connection.
        """
        link = await self.get(connection_id)
        return await self._access.examine(link) if link.state in HAS_ACCESS else Checked(link, ())

    async def history(self, connection_id: str, *, before: int | None, limit: int) -> Sequence[LinkEvent]:
        """What ever happened to a connection, newest first, what has a smaller id than `before`.

        Raises:
            NotFoundError: there is no such connection.
        """
        async with self._means.database.read() as tx:
            await self._record.get(tx, connection_id)
            return await history.page(tx, connection_id, before=before, limit=limit)

    async def access_lost(self, connection_id: str, error: PersonMustActError) -> Link:
        """Find out why Xero refuses us, and note it: the connection may turn out to be connected all the same.

        A connection that is not connected, or was only found so before it became so, stays as it is.
        """
        link = await self.get(connection_id)
        if link.state != ConnectionState.CONNECTED or isinstance(error, ConnectionNotUsableError):
            return link
        return (await self._access.examine(link, error)).link

    async def health(self, connection_id: str, trouble: Reason | None) -> None:
        """Note that a connected connection is held up by a trouble that passes, or is no longer (None)."""
        async with self._means.database.write() as tx:
            await self.note(tx, await self._record.get(tx, connection_id, lock=True), trouble)

    async def note(self, tx: Transaction, link: Link, trouble: Reason | None) -> None:
        """Likewise of a connection that is locked, in the transaction that lets its reading wait."""
        await self._access.note_trouble(tx, link, trouble)

    async def synced(self, tx: Transaction, link: Link, gap: Gap | None) -> None:
        """Note on a connection that is locked that all was read: nothing holds it up, and the gap of a break is closed.

        In the transaction that ends the sync: whoever hears of the one finds the other.
        """
        link = msgspec.structs.replace(link, last_synced_at=self._means.clock.now())
        await connections.save(tx, link)
        link = await self._access.note_trouble(tx, link, None)
        if gap:
            await self._record.close_gap(tx, link, gap)
