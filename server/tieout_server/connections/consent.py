"""Coming back from consent: the code becomes tokens, and the connection is settled on an organisation if it can be."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tieout_server import log
from tieout_server.connections import reasons
from tieout_server.connections.access import Access
from tieout_server.connections.administrator import check_is_administrator
from tieout_server.connections.authorisation import Returned, given_by
from tieout_server.connections.consent_rules import (
    check_is_free,
    check_was_not_ended,
    choice_of,
    linked,
    refusal_of,
    same_organisation,
)
from tieout_server.connections.means import TAKE_LEAVE, Means
from tieout_server.connections.messages import Choose, Return, Settled
from tieout_server.connections.record import Record
from tieout_server.connections.state import ConnectionState, Happening, move
from tieout_server.connections.tokens import TokensOf
from tieout_server.errors import (
    NoOrganisationError,
    NotPermittedNowError,
    OrganisationAlreadyConnectedError,
    PersonMustActError,
    TieoutError,
)
from tieout_server.ledger.books import Membership, Purpose
from tieout_server.ledger.links import (
    CALLER,
    TIEOUT,
    AuthorisedBy,
    Granted,
    Link,
    LinkChangeKind,
    OrganisationChoice,
)
from tieout_server.storage import connections, leavings
from tieout_server.storage.database import Transaction
from tieout_server.storage.leavings import Leaving
from tieout_server.work.engine import Priority

logger = log.get("connections")


COMPLETE = "CompleteAuthorization"
CHOOSE = "ChooseOrganisation"


class _Asked(msgspec.Struct, frozen=True):
    """The request that is served: what is kept as its answer in the transaction that changes the connection."""

    method: str
    request: Return | Choose
    answer: Settled
    consent: Returned | None = None
    """What ends with it."""


class Consents:
    """Takes people back from Xero."""

    def __init__(self, means: Means, record: Record, access: Access) -> None:
        self._means = means
        self._record = record
        self._access = access

    async def take_back(self, returned: Returned, back: Return) -> Link:
        """The connection after this consent; a refusal is noted where watchers see it.

        What Xero gave so far is kept: after trouble, whatever it was, the same state goes on from there.
        """
        link_id, granted = returned.connection_id, returned.granted
        asked = _Asked(COMPLETE, back, Settled(link_id, returned.return_url), returned)
        try:
            _check_was_given(back)
            granted = granted or await self._exchange(returned, back.code)
            return await self._settle_consent(asked, granted)
        except (PersonMustActError, OrganisationAlreadyConnectedError, NotPermittedNowError) as refusal:
            # Where another connection has the organisation, `connection_id` is that one: the page must not tell it.
            ours = {"connection_id": link_id, "started_for": link_id, "return_url": returned.return_url}
            refusal.facts = {**ours, **refusal.facts}
            await self._refuse(asked, refusal, granted)
            raise
        except BaseException as trouble:  # a cancellation, too: the caller's deadline is none of Xero's
            if isinstance(trouble, TieoutError):
                trouble.facts = {"connection_id": link_id, "return_url": returned.return_url, **trouble.facts}
            async with self._means.database.write() as tx:
                await self._means.authorisations.give_back(tx, returned)
            raise

    async def choose(self, link: Link, request: Choose) -> Link:
        """The connection settled on one of the organisations that its consent gave."""
        chosen = choice_of(link, request.xero_tenant_id)
        assert link.authorised_by is not None, "who offers organisations has consented"
        granted = Granted(user=link.authorised_by, scopes=link.scopes, authentication_event_id="")
        asked = _Asked(CHOOSE, request, Settled(link.id))
        try:
            return await self._settle(asked, link, chosen, granted)
        except (PersonMustActError, OrganisationAlreadyConnectedError) as refusal:
            await self._refuse(asked, refusal)
            raise

    async def _exchange(self, returned: Returned, code: str) -> Granted:
        """What the code gives, its tokens stored before they are used.

        Should nothing come of it, what it linked is removed again once nobody can come back with it.
        """
        given = await self._means.identity.exchange(code=code, code_verifier=returned.code_verifier)
        granted = Granted(
            user=AuthorisedBy(xero_user_id=given.xero_user_id, email=given.email, name=given.name),
            scopes=given.scopes,
            authentication_event_id=given.authentication_event_id,
        )
        async with self._means.database.write() as tx:
            await self._means.tokens.keep(tx, given)
            await connections.mark_granted(tx, returned.state_hash, granted)
            await self._leave_later(tx, returned.connection_id, returned.settled_by)
        return granted

    async def _settle_consent(self, asked: _Asked, granted: Granted) -> Link:
        """Find the organisation that the consent was for; several wait to be chosen from."""
        await self._means.tokens.wait_for_leave(granted.user.xero_user_id)
        async with self._means.database.read() as tx:
            link = await self._record.get(tx, asked.answer.connection_id)
        given = await self._given(link, granted)
        if not given:
            raise NoOrganisationError("The consent at Xero was given for no organisation. Please start again.")
        choices = tuple(
            OrganisationChoice(xero_tenant_id=m.xero_tenant_id, name=m.name, membership_id=m.membership_id)
            for m in given
        )
        if len(choices) == 1:
            return await self._settle(asked, link, choices[0], granted)
        return await self._offer(asked, link, choices, granted)

    async def _given(self, link: Link, granted: Granted) -> list[Membership]:
        """The organisations that this consent was given for; of a connection that has one, that one.

        Where the consent linked nothing new, the organisation may have been linked all along: consents lapse, links
        do not (Xero, Tenants).
        """
        access_token = await self._means.tokens.access_token(granted.user.xero_user_id)
        event = granted.authentication_event_id
        given = list(await self._means.identity.memberships(access_token, authentication_event_id=event))
        if not link.xero_tenant_id:
            return given
        return [same_organisation(link, given or await self._means.identity.memberships(access_token))]

    async def _offer(
        self, asked: _Asked, before: Link, choices: tuple[OrganisationChoice, ...], granted: Granted
    ) -> Link:
        """Have one of these organisations chosen; those that are connected already say by which connection."""
        async with self._means.database.write() as tx:
            if await self._is_answered(tx, asked):
                return await self._record.get(tx, before.id)
            link = await self._record.get(tx, before.id, lock=True)
            check_was_not_ended(before, link)
            holders = await connections.holders_of(tx, {choice.xero_tenant_id for choice in choices})
            offered = tuple(
                msgspec.structs.replace(choice, connected_as=holders.get(choice.xero_tenant_id, ""))
                for choice in choices
            )
            after = msgspec.structs.replace(
                link,
                state=move(ConnectionState(link.state), Happening.SEVERAL_ORGANISATIONS),
                choices=offered,
                authorised_by=granted.user,
                scopes=granted.scopes,
                reason=None,
            )
            await self._end(tx, asked, _replaced(link, after))
            return await self._record.change(tx, link, after, actor=_name(granted.user))

    async def _settle(self, asked: _Asked, before: Link, chosen: OrganisationChoice, granted: Granted) -> Link:
        """Look into the chosen books, check that the user may do what we need, and connect."""
        user = granted.user
        books = self._means.library.open(chosen.xero_tenant_id, TokensOf(self._means.tokens, user.xero_user_id))
        organisation = await books.organisation(Purpose.CONNECT)
        user = await check_is_administrator(books, user, organisation)
        async with self._means.database.write() as tx:
            if await self._is_answered(tx, asked):
                return await self._record.get(tx, before.id)
            link = await self._record.get(tx, before.id, lock=True)
            check_was_not_ended(before, link)
            await check_is_free(tx, link, chosen)
            after = msgspec.structs.replace(
                link,
                state=move(ConnectionState(link.state), Happening.ORGANISATION_SETTLED),
                xero_tenant_id=chosen.xero_tenant_id,
                membership_id=chosen.membership_id,
                organisation=organisation,
                authorised_by=user,
                scopes=granted.scopes,
                choices=(),
                consented_at=self._means.clock.now(),
            )
            await self._end(tx, asked, _replaced(link, after))
            link = await self._access.gain(tx, link, after, actor=_name(user) if asked.consent else CALLER)
        logger.info("connected", connection_id=link.id, organisation=organisation.name)
        await self._wake_others_of(user.xero_user_id)
        return link

    async def _wake_others_of(self, xero_user_id: str) -> None:
        """Have this user's broken connections looked at: tokens are the user's, so they may work again, too."""
        now = self._means.clock.now()
        async with self._means.database.write() as tx:
            for connection_id in await connections.broken_of(tx, xero_user_id):
                await self._access.look_at(tx, connection_id, now)

    async def _is_answered(self, tx: Transaction, asked: _Asked) -> bool:
        """Whether an equal request was faster; others that are equal wait for the end of this transaction.

        Raises:
            RequestIdReusedError: the request_id came meanwhile with other content.
        """
        request_id = asked.request.request_id
        return bool(await self._means.requests.earlier(tx, asked.method, request_id, asked.request, Settled))

    async def _end(self, tx: Transaction, asked: _Asked, left: Sequence[Leaving]) -> None:
        """Keep the answer to a request that is served, and leave what the connection stands on no more.

        Raises:
            NotPermittedNowError: the consent was settled or given up meanwhile.
        """
        if not await self._end_and_leave(tx, asked, left):
            raise NotPermittedNowError("This consent was settled or given up meanwhile.")
        await self._means.requests.keep(tx, asked.method, asked.request.request_id, asked.request, asked.answer)

    async def _end_and_leave(self, tx: Transaction, asked: _Asked, left: Sequence[Leaving]) -> bool:
        """End the consent, if there is one, and have this removed at Xero; False if it had ended before."""
        now, connection_id = self._means.clock.now(), asked.answer.connection_id
        is_ended = not asked.consent or await connections.end_authorisation(tx, asked.consent.state_hash, now)
        await leavings.add(tx, connection_id, left, now)
        await self._leave_later(tx, connection_id, now)
        return is_ended

    async def _leave_later(self, tx: Transaction, connection_id: str, at: datetime) -> None:
        """Have removed at Xero, from then on, what serves the connection no more."""
        await self._means.engine.wake(tx, TAKE_LEAVE, connection_id, priority=Priority.UPKEEP, at=at)

    async def _refuse(self, asked: _Asked, refusal: TieoutError, granted: Granted | None = None) -> None:
        """End a consent that was refused, and leave what it linked; watchers are told.

        A connection that never worked gets the refusal as its reason, others keep theirs. Of one that was ended, or of
        a consent that ended meanwhile, nothing is told.
        """
        now = self._means.clock.now()
        async with self._means.database.write() as tx:
            link = await self._record.get(tx, asked.answer.connection_id, lock=True)
            is_ours = await self._end_and_leave(tx, asked, [given_by(granted)] if granted else [])
            if not is_ours or isinstance(refusal, NotPermittedNowError):
                return
            reason = reasons.of_error(refusal, now)
            if link.state in (ConnectionState.PENDING_AUTHORISATION, ConnectionState.PENDING_ORGANISATION):
                link = msgspec.structs.replace(link, updated_at=now, reason=reason)
                await connections.save(tx, link)
            kind, actor = LinkChangeKind.AUTHORISATION_REFUSED, _name(granted.user) if granted else TIEOUT
            await self._record.tell(tx, link, kind, from_state=link.state, reason=reason, actor=actor)


def _check_was_given(back: Return) -> None:
    """Check that Xero sent a code.

    Raises:
        PersonMustActError: it sent an error instead.
    """
    if back.error or not back.code:
        raise refusal_of(back.error)


def _replaced(before: Link, after: Link) -> Sequence[Leaving]:
    """What the connection stood on before and does no more: another user, a link made anew, what was not chosen."""
    if before.authorised_by is None or after.authorised_by is None:
        return []
    user, of_before = before.authorised_by.xero_user_id, linked(before)
    if user != after.authorised_by.xero_user_id:
        return of_before
    return [leaving for leaving in of_before if leaving.membership_id not in {"", after.membership_id}]


def _name(user: AuthorisedBy) -> str:
    """Whom the history names as the one who consented."""
    return user.email or user.xero_user_id
