"""What callers do with connections: connect, come back from consent, choose, look, and lose them."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from tieout_server import log
from tieout_server.clock import Clock
from tieout_server.connections import reasons
from tieout_server.connections.administrator import check_is_administrator
from tieout_server.connections.authorisation import Authorisations, Returned
from tieout_server.connections.messages import Completed, Connect, Reconnect, Return, Snapshot, Started
from tieout_server.connections.return_urls import ReturnUrls
from tieout_server.connections.state import (
    ConnectionHealth,
    ConnectionState,
    Happening,
    check_can_choose_organisation,
    check_can_read,
    check_can_reconnect,
    move,
)
from tieout_server.connections.tokens import Tokens, TokensOf
from tieout_server.errors import (
    AccessRevokedError,
    ConsentDeniedError,
    InvalidRequestError,
    NoOrganisationError,
    NotFoundError,
    PersonMustActError,
    TieoutError,
    Violation,
    WrongOrganisationError,
    XeroUnavailableError,
)
from tieout_server.events.feed import CONNECTION, Feed
from tieout_server.ledger.books import Books, Identity, Library, Membership, Purpose, TokenSet
from tieout_server.ledger.links import AuthorisedBy, Link, LinkChange, LinkChangeKind, OrganisationChoice, Reason
from tieout_server.storage import connections, events
from tieout_server.storage.connections import Scope
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.events import Event
from tieout_server.work.engine import Engine, Priority
from tieout_server.work.requests import Requests

logger = log.get("connections")

CONNECTED = "connected"
"""The kind of work that a consent wakes: reading what there is, or what was missed."""

PAGE = 1000
"""Connections that a snapshot reads at a time."""


@dataclass(frozen=True)
class Means:
    """What the service works with."""

    database: Database
    feed: Feed
    engine: Engine
    requests: Requests
    authorisations: Authorisations
    tokens: Tokens
    identity: Identity
    library: Library
    return_urls: ReturnUrls
    clock: Clock


class Connections:
    """The connections of all merchants."""

    def __init__(self, means: Means) -> None:
        self._ = means

    async def connect(self, asked: Connect) -> Started:
        """Make a connection for a merchant and open the way to consent.

        Raises:
            InvalidRequestError: the return_url is not one of those allowed.
            RequestIdReusedError: the request_id came before with other content.
        """
        self._.return_urls.check(asked.return_url)
        async with self._.database.write() as tx:
            if earlier := await self._.requests.earlier(tx, "Connect", asked.request_id, asked, Started):
                return earlier
            now = self._.clock.now()
            link = Link(
                id=f"con_{secrets.token_hex(10)}",
                merchant_id=asked.merchant_id,
                state=ConnectionState.PENDING_AUTHORISATION,
                created_at=now,
                updated_at=now,
            )
            await connections.insert(tx, link)
            started = Started(link, await self._.authorisations.begin(tx, link.id, asked.return_url))
            await self._.requests.keep(tx, "Connect", asked.request_id, asked, started)
            await self._publish(tx, link, LinkChangeKind.AUTHORISATION_STARTED)
        return started

    async def reconnect(self, asked: Reconnect) -> Started:
        """Open a new way to consent for an existing connection; data, settings and history stay.

        Raises:
            NotFoundError: there is no such connection.
            NotPermittedNowError: it was never connected.
            InvalidRequestError: the return_url is not one of those allowed.
            RequestIdReusedError: the request_id came before with other content.
        """
        self._.return_urls.check(asked.return_url)
        async with self._.database.write() as tx:
            if earlier := await self._.requests.earlier(tx, "Reconnect", asked.request_id, asked, Started):
                return earlier
            link = await self._get(tx, asked.connection_id, lock=True)
            check_can_reconnect(link)
            started = Started(link, await self._.authorisations.begin(tx, link.id, asked.return_url))
            await self._.requests.keep(tx, "Reconnect", asked.request_id, asked, started)
            await self._publish(tx, link, LinkChangeKind.AUTHORISATION_STARTED, from_state=link.state)
        return started

    async def complete(self, back: Return) -> Completed:
        """Take a person back from Xero: their code becomes tokens, and the connection is settled if it can be.

        Raises:
            ConsentStateError: the state is unknown, used or expired; nothing has changed.
            PersonMustActError: the consent cannot be used; the connection's reason says why.
            RequestIdReusedError: the request_id came before with other content.
            XeroUnavailableError: Xero does not answer; before the code was taken, the same link may be opened again.
        """
        method = "CompleteAuthorization"
        async with self._.database.write() as tx:
            if earlier := await self._.requests.earlier(tx, method, back.request_id, back, Completed):
                return earlier
            returned = await self._.authorisations.redeem(tx, back.state)
        completed = Completed(await self._consented(returned, back), returned.return_url)
        async with self._.database.write() as tx:
            await self._.requests.keep(tx, method, back.request_id, back, completed)
        return completed

    async def choose(self, connection_id: str, xero_tenant_id: str) -> Link:
        """Settle a connection on one of the organisations that its consent gave; a repeat answers as the first did.

        Raises:
            NotFoundError: there is no such connection.
            NotPermittedNowError: there is nothing to choose from.
            InvalidRequestError: the organisation is none of the choices.
            NotAdministratorError: the user may not do what we need in that organisation.
        """
        async with self._.database.read() as tx:
            link = await self._get(tx, connection_id)
        if link.state == ConnectionState.CONNECTED and link.xero_tenant_id == xero_tenant_id:
            return link
        check_can_choose_organisation(link)
        chosen = next((c for c in link.choices if c.xero_tenant_id == xero_tenant_id), None)
        if chosen is None or link.authorised_by is None:
            names = ", ".join(f"{c.xero_tenant_id} ({c.name})" for c in link.choices)
            raise InvalidRequestError(Violation("xero_tenant_id", f"must be one of the organisations offered: {names}"))
        try:
            return await self._settle(link, chosen, link.authorised_by, link.scopes)
        except PersonMustActError as refusal:
            await self._note(connection_id, refusal)
            raise

    async def get(self, connection_id: str) -> Link:
        """The connection with this id.

        Raises:
            NotFoundError: there is none.
        """
        async with self._.database.read() as tx:
            return await self._get(tx, connection_id)

    async def page(self, scope: Scope, *, after: tuple[datetime, str] | None, limit: int) -> Sequence[Link]:
        """Connections in scope, oldest first, those behind this `created_at` and id."""
        async with self._.database.read() as tx:
            return await connections.page(tx, scope, after=after, limit=limit)

    async def snapshot(self, scope: Scope, *, empty: bool = False) -> Snapshot:
        """Every connection in scope (or none), and the position from which events tell what happened since."""
        links: list[Link] = []
        async with self._.database.read() as tx:
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
        async with self._.database.read() as tx:
            expiries = await connections.expiries(tx, set(users.values()))
        return {connection_id: expiries[user] for connection_id, user in users.items() if user in expiries}

    def books(self, link: Link) -> Books:
        """The books behind this connection.

        Raises:
            ConnectionNotUsableError: somebody has to act first.
        """
        check_can_read(link)
        if link.authorised_by is None:
            raise AccessRevokedError(f"Connection {link.id} has no authorising user.", connection_id=link.id)
        return self._.library.open(link.xero_tenant_id, TokensOf(self._.tokens, link.authorised_by.xero_user_id))

    async def access_lost(self, connection_id: str, error: PersonMustActError) -> Link:
        """Note that Xero refuses us, with the reason; a connection that is not connected stays as it is."""
        async with self._.database.write() as tx:
            link = await self._get(tx, connection_id, lock=True)
            if link.state != ConnectionState.CONNECTED:
                return link
            reason = reasons.of_error(error, self._.clock.now(), *error.facts.values())
            state = move(ConnectionState(link.state), Happening.ACCESS_LOST)
            return await self._change(tx, link, state=state, reason=reason)

    async def health(self, connection_id: str, reason: Reason | None) -> None:
        """Note that a connected connection is held up (DEGRADED, with the reason) or well again (None)."""
        health = ConnectionHealth.DEGRADED if reason else ConnectionHealth.OK
        async with self._.database.write() as tx:
            link = await self._get(tx, connection_id, lock=True)
            same = link.health == health and (link.reason and link.reason.code) == (reason and reason.code)
            if link.state == ConnectionState.CONNECTED and not same:
                await self._change(tx, link, health=health, reason=reason)

    async def _consented(self, returned: Returned, back: Return) -> Link:
        """The connection after this consent; a refusal is noted where watchers see it."""
        link_id = returned.connection_id
        tokens: TokenSet | None = None
        try:
            if back.error or not back.code:
                raise _refusal(back.error)
            tokens = await self._exchange(returned, back.code)
            return await self._settle_consent(returned, tokens)
        except PersonMustActError as refusal:
            refusal.facts = {**refusal.facts, "connection_id": link_id, "return_url": returned.return_url}
            await self._note(link_id, refusal, tokens.xero_user_id if tokens else "")
            raise

    async def _exchange(self, returned: Returned, code: str) -> TokenSet:
        """Tokens for the code, stored before they are used."""
        try:
            tokens = await self._.identity.exchange(code=code, code_verifier=returned.code_verifier)
        except XeroUnavailableError:
            async with self._.database.write() as tx:
                await self._.authorisations.give_back(tx, returned)
            raise
        async with self._.database.write() as tx:
            await self._.tokens.keep(tx, tokens)
        return tokens

    async def _settle_consent(self, returned: Returned, tokens: TokenSet) -> Link:
        """Find the organisation that the consent was for; several wait to be chosen from."""
        link = await self.get(returned.connection_id)
        given = await self._.identity.memberships(
            tokens.access_token, authentication_event_id=tokens.authentication_event_id
        )
        user = AuthorisedBy(xero_user_id=tokens.xero_user_id, email=tokens.email, name=tokens.name)
        if link.xero_tenant_id:
            given = [_same_organisation(link, given)]
        if not given:
            raise NoOrganisationError("The consent at Xero was given for no organisation. Please start again.")
        choices = tuple(
            OrganisationChoice(xero_tenant_id=m.xero_tenant_id, name=m.name, membership_id=m.membership_id)
            for m in given
        )
        if len(choices) == 1:
            return await self._settle(link, choices[0], user, tokens.scopes)
        async with self._.database.write() as tx:
            link = await self._get(tx, link.id, lock=True)
            state = move(ConnectionState(link.state), Happening.SEVERAL_ORGANISATIONS)
            return await self._change(
                tx, link, state=state, choices=choices, authorised_by=user, scopes=tokens.scopes, reason=None
            )

    async def _settle(
        self, link: Link, chosen: OrganisationChoice, user: AuthorisedBy, scopes: tuple[str, ...]
    ) -> Link:
        """Look into the chosen books, check that the user may do what we need, and connect."""
        books = self._.library.open(chosen.xero_tenant_id, TokensOf(self._.tokens, user.xero_user_id))
        organisation = await books.organisation(Purpose.CONNECT)
        user = await check_is_administrator(books, user, organisation)
        async with self._.database.write() as tx:
            link = await self._get(tx, link.id, lock=True)
            await self._.engine.wake(tx, CONNECTED, link.id, priority=Priority.ASKED)
            link = await self._change(
                tx,
                link,
                state=move(ConnectionState(link.state), Happening.ORGANISATION_SETTLED),
                health=ConnectionHealth.OK,
                reason=None,
                xero_tenant_id=chosen.xero_tenant_id,
                membership_id=chosen.membership_id,
                organisation=organisation,
                authorised_by=user,
                scopes=scopes,
                choices=(),
            )
        logger.info("connected", connection_id=link.id, organisation=organisation.name)
        return link

    async def _note(self, connection_id: str, refusal: PersonMustActError, xero_user_id: str = "") -> None:
        """Tell watchers of the refusal; a connection that never worked gets it as its reason, others keep theirs."""
        reason = reasons.of_error(refusal, self._.clock.now())
        async with self._.database.write() as tx:
            link = await self._get(tx, connection_id, lock=True)
            await connections.drop_unused_tokens(tx, xero_user_id)
            if link.state in (ConnectionState.PENDING_AUTHORISATION, ConnectionState.PENDING_ORGANISATION):
                link = msgspec.structs.replace(link, updated_at=self._.clock.now(), reason=reason)
                await connections.save(tx, link)
            refused = LinkChangeKind.AUTHORISATION_REFUSED
            await self._publish(tx, link, refused, from_state=link.state, reason=reason)

    async def _get(self, tx: Transaction, connection_id: str, *, lock: bool = False) -> Link:
        link = await connections.get(tx, connection_id, lock=lock)
        if link is None:
            raise NotFoundError("connection", connection_id)
        return link

    async def _change(self, tx: Transaction, before: Link, **changes: object) -> Link:
        """Save the connection with these changes and tell its watchers."""
        link = msgspec.structs.replace(before, updated_at=self._.clock.now(), **changes)
        await connections.save(tx, link)
        moved = link.state != before.state
        kind = LinkChangeKind.STATE_CHANGED if moved else LinkChangeKind.DETAILS_CHANGED
        await self._publish(tx, link, kind, from_state=before.state, reason=link.reason)
        return link

    async def _publish(
        self, tx: Transaction, link: Link, kind: LinkChangeKind, *, from_state: str = "", reason: Reason | None = None
    ) -> None:
        user = link.authorised_by.xero_user_id if link.authorised_by else ""
        change = LinkChange(
            kind=kind,
            from_state=from_state,
            reason=reason,
            link=link,
            credentials_expire_at=(await connections.expiries(tx, (user,))).get(user),
        )
        event = Event(0, link.id, CONNECTION, link.id, self._.clock.now(), msgspec.json.encode(change))
        await self._.feed.append(tx, event)


def _refusal(error: str) -> TieoutError:
    """What Xero's `error` parameter means (RFC 6749, 4.1.2.1)."""
    if error == "access_denied":
        return ConsentDeniedError("Consent was refused at Xero, so nothing was connected.")
    return ConsentDeniedError(f"Xero sent no consent but the error {error or 'none'!r}.", error=error)


def _same_organisation(link: Link, given: Sequence[Membership]) -> Membership:
    """The membership of the organisation that this connection belongs to."""
    for membership in given:
        if membership.xero_tenant_id == link.xero_tenant_id:
            return membership
    ours = link.organisation.name if link.organisation else link.xero_tenant_id
    theirs = ", ".join(m.name for m in given) or "none"
    raise WrongOrganisationError(
        f"This connection belongs to {ours}, but consent was given for {theirs}. Nothing was changed.",
        expected=ours,
        given=theirs,
    )
