"""What callers do with connections: connect, come back from consent, choose, look, and lose them."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec

from tieout_server import log
from tieout_server.clock import Clock
from tieout_server.connections import reasons
from tieout_server.connections.administrator import check_is_administrator
from tieout_server.connections.authorisation import Authorisations, Returned
from tieout_server.connections.consents import check_is_free, choice_of, refusal_of, same_organisation
from tieout_server.connections.messages import Choose, Completed, Connect, Reconnect, Return, Snapshot, Started
from tieout_server.connections.return_urls import ReturnUrls
from tieout_server.connections.state import (
    ConnectionHealth,
    ConnectionState,
    Happening,
    check_can_read,
    check_can_reconnect,
    move,
)
from tieout_server.connections.tokens import Tokens, TokensOf
from tieout_server.errors import (
    AccessRevokedError,
    BugError,
    ConnectionNotUsableError,
    NoOrganisationError,
    NotFoundError,
    OrganisationAlreadyConnectedError,
    PersonMustActError,
    TieoutError,
    TryAgainError,
)
from tieout_server.events.feed import CONNECTION, Feed
from tieout_server.ledger.books import Books, Identity, Library, Purpose
from tieout_server.ledger.links import (
    AuthorisedBy,
    Granted,
    Link,
    LinkChange,
    LinkChangeKind,
    OrganisationChoice,
    Reason,
)
from tieout_server.storage import connections, events
from tieout_server.storage.connections import Scope
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.events import Event
from tieout_server.work.engine import Engine, Priority
from tieout_server.work.requests import Requests

logger = log.get("connections")
AnswerT = TypeVar("AnswerT")

AFTER_CONSENT = "after_consent"
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
        self._means = means

    async def connect(self, asked: Connect) -> Started:
        """Make a connection for a merchant and open the way to consent.

        Raises:
            InvalidRequestError: the return_url is not one of those allowed.
            RequestIdReusedError: the request_id came before with other content.
        """
        self._means.return_urls.check(asked.return_url)
        async with self._means.database.write() as tx:
            if earlier := await self._means.requests.earlier(tx, "Connect", asked.request_id, asked, Started):
                return earlier
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
            await self._means.requests.keep(tx, "Connect", asked.request_id, asked, started)
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
        self._means.return_urls.check(asked.return_url)
        async with self._means.database.write() as tx:
            if earlier := await self._means.requests.earlier(tx, "Reconnect", asked.request_id, asked, Started):
                return earlier
            link = await self._get(tx, asked.connection_id, lock=True)
            check_can_reconnect(link)
            started = Started(link, await self._means.authorisations.begin(tx, link.id, asked.return_url))
            await self._means.requests.keep(tx, "Reconnect", asked.request_id, asked, started)
            await self._publish(tx, link, LinkChangeKind.AUTHORISATION_STARTED, from_state=link.state)
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
        method = "CompleteAuthorization"
        async with self._means.database.write() as tx:
            if earlier := await self._means.requests.earlier(tx, method, back.request_id, back, Completed):
                return earlier
            returned = await self._means.authorisations.redeem(tx, back.state)
        completed = Completed(await self._consented(returned, back), returned.return_url)
        return await self._answer(method, back.request_id, back, completed)

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
        method = "ChooseOrganisation"
        async with self._means.database.write() as tx:
            if earlier := await self._means.requests.earlier(tx, method, asked.request_id, asked, Link):
                return earlier
            link = await self._get(tx, asked.connection_id)
        if link.state == ConnectionState.CONNECTED and link.xero_tenant_id == asked.xero_tenant_id:
            return link
        chosen = choice_of(link, asked.xero_tenant_id)
        assert link.authorised_by is not None, "who offers organisations has consented"
        try:
            link = await self._settle(link, chosen, link.authorised_by, link.scopes)
        except (PersonMustActError, OrganisationAlreadyConnectedError) as refusal:
            await self._note(link.id, refusal)
            raise
        return await self._answer(method, asked.request_id, asked, link)

    async def get(self, connection_id: str) -> Link:
        """The connection with this id.

        Raises:
            NotFoundError: there is none.
        """
        async with self._means.database.read() as tx:
            return await self._get(tx, connection_id)

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
        return self._means.library.open(
            link.xero_tenant_id, TokensOf(self._means.tokens, link.authorised_by.xero_user_id)
        )

    async def access_lost(self, connection_id: str, error: PersonMustActError) -> Link:
        """Note that Xero refuses us, with the reason.

        A connection that is not connected, or was only found so before it became so, stays as it is.
        """
        async with self._means.database.write() as tx:
            link = await self._get(tx, connection_id, lock=True)
            if link.state != ConnectionState.CONNECTED or isinstance(error, ConnectionNotUsableError):
                return link
            reason = reasons.of_error(error, self._means.clock.now(), *error.facts.values())
            state = move(ConnectionState(link.state), Happening.ACCESS_LOST)
            return await self._change(tx, link, state=state, reason=reason)

    async def health(self, connection_id: str, reason: Reason | None) -> None:
        """Note that a connected connection is held up (DEGRADED, with the reason) or well again (None)."""
        health = ConnectionHealth.DEGRADED if reason else ConnectionHealth.OK
        async with self._means.database.write() as tx:
            link = await self._get(tx, connection_id, lock=True)
            same = link.health == health and (link.reason and link.reason.code) == (reason and reason.code)
            if link.state == ConnectionState.CONNECTED and not same:
                await self._change(tx, link, health=health, reason=reason)

    async def _consented(self, returned: Returned, back: Return) -> Link:
        """The connection after this consent; a refusal is noted where watchers see it.

        What Xero gave so far is kept: after trouble the same state goes on from there.
        """
        link_id, granted = returned.connection_id, returned.granted
        try:
            if back.error or not back.code:
                raise refusal_of(back.error)
            granted = granted or await self._exchange(returned, back.code)
            return await self._settle_consent(link_id, granted)
        except (TryAgainError, BugError) as trouble:
            trouble.facts = {"connection_id": link_id, "return_url": returned.return_url, **trouble.facts}
            async with self._means.database.write() as tx:
                await self._means.authorisations.give_back(tx, returned)
            raise
        except (PersonMustActError, OrganisationAlreadyConnectedError) as refusal:
            refusal.facts = {"connection_id": link_id, "return_url": returned.return_url, **refusal.facts}
            await self._note(link_id, refusal, granted.user.xero_user_id if granted else "")
            raise

    async def _exchange(self, returned: Returned, code: str) -> Granted:
        """What the code gives, its tokens stored before they are used."""
        tokens = await self._means.identity.exchange(code=code, code_verifier=returned.code_verifier)
        granted = Granted(
            user=AuthorisedBy(xero_user_id=tokens.xero_user_id, email=tokens.email, name=tokens.name),
            scopes=tokens.scopes,
            authentication_event_id=tokens.authentication_event_id,
        )
        async with self._means.database.write() as tx:
            await self._means.tokens.keep(tx, tokens)
            await connections.mark_granted(tx, returned.state_hash, granted)
        return granted

    async def _settle_consent(self, connection_id: str, granted: Granted) -> Link:
        """Find the organisation that the consent was for; several wait to be chosen from."""
        link = await self.get(connection_id)
        user = granted.user
        access_token = await self._means.tokens.access_token(user.xero_user_id)
        event = granted.authentication_event_id
        given = await self._means.identity.memberships(access_token, authentication_event_id=event)
        if link.xero_tenant_id:
            given = [same_organisation(link, given)]
        if not given:
            raise NoOrganisationError("The consent at Xero was given for no organisation. Please start again.")
        choices = tuple(
            OrganisationChoice(xero_tenant_id=m.xero_tenant_id, name=m.name, membership_id=m.membership_id)
            for m in given
        )
        if len(choices) == 1:
            return await self._settle(link, choices[0], user, granted.scopes)
        async with self._means.database.write() as tx:
            link = await self._get(tx, link.id, lock=True)
            state = move(ConnectionState(link.state), Happening.SEVERAL_ORGANISATIONS)
            return await self._change(
                tx, link, state=state, choices=choices, authorised_by=user, scopes=granted.scopes, reason=None
            )

    async def _settle(
        self, link: Link, chosen: OrganisationChoice, user: AuthorisedBy, scopes: tuple[str, ...]
    ) -> Link:
        """Look into the chosen books, check that the user may do what we need, and connect."""
        books = self._means.library.open(chosen.xero_tenant_id, TokensOf(self._means.tokens, user.xero_user_id))
        organisation = await books.organisation(Purpose.CONNECT)
        user = await check_is_administrator(books, user, organisation)
        async with self._means.database.write() as tx:
            link = await self._get(tx, link.id, lock=True)
            await check_is_free(tx, link, chosen)
            await self._means.engine.wake(tx, AFTER_CONSENT, link.id, priority=Priority.ASKED)
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

    async def _note(self, connection_id: str, refusal: TieoutError, xero_user_id: str = "") -> None:
        """Tell watchers of the refusal; a connection that never worked gets it as its reason, others keep theirs."""
        reason = reasons.of_error(refusal, self._means.clock.now())
        async with self._means.database.write() as tx:
            link = await self._get(tx, connection_id, lock=True)
            await connections.drop_unused_tokens(tx, xero_user_id)
            if link.state in (ConnectionState.PENDING_AUTHORISATION, ConnectionState.PENDING_ORGANISATION):
                link = msgspec.structs.replace(link, updated_at=self._means.clock.now(), reason=reason)
                await connections.save(tx, link)
            refused = LinkChangeKind.AUTHORISATION_REFUSED
            await self._publish(tx, link, refused, from_state=link.state, reason=reason)

    async def _answer(self, method: str, request_id: str, asked: object, answer: AnswerT) -> AnswerT:
        """Keep this answer to a request, unless an equal one was faster: then that one's is the answer to both."""
        async with self._means.database.write() as tx:
            if earlier := await self._means.requests.earlier(tx, method, request_id, asked, type(answer)):
                return earlier
            await self._means.requests.keep(tx, method, request_id, asked, answer)
        return answer

    async def _get(self, tx: Transaction, connection_id: str, *, lock: bool = False) -> Link:
        link = await connections.get(tx, connection_id, lock=lock)
        if link is None:
            raise NotFoundError("connection", connection_id)
        return link

    async def _change(self, tx: Transaction, before: Link, **changes: object) -> Link:
        """Save the connection with these changes and tell its watchers."""
        link = msgspec.structs.replace(before, updated_at=self._means.clock.now(), **changes)
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
        event = Event(0, link.id, CONNECTION, link.id, self._means.clock.now(), msgspec.json.encode(change))
        await self._means.feed.append(tx, event)
