"""Coming back from consent: the code becomes tokens, and the connection is settled on an organisation if it can be."""

import msgspec

from tieout_server import log
from tieout_server.connections import reasons
from tieout_server.connections.access import Access
from tieout_server.connections.administrator import check_is_administrator
from tieout_server.connections.authorisation import Returned
from tieout_server.connections.consent_rules import (
    check_is_free,
    check_was_not_ended,
    choice_of,
    refusal_of,
    same_organisation,
)
from tieout_server.connections.means import Means
from tieout_server.connections.messages import Return
from tieout_server.connections.record import Record
from tieout_server.connections.state import ConnectionState, Happening, move
from tieout_server.connections.tokens import TokensOf
from tieout_server.errors import (
    BugError,
    NoOrganisationError,
    OrganisationAlreadyConnectedError,
    PersonMustActError,
    TieoutError,
    TryAgainError,
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
from tieout_server.storage import connections, tokens

logger = log.get("connections")


class Consents:
    """Takes people back from Xero."""

    def __init__(self, means: Means, record: Record, access: Access) -> None:
        self._means = means
        self._record = record
        self._access = access

    async def take_back(self, returned: Returned, back: Return) -> Link:
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
            # Where another connection has the organisation, `connection_id` is that one: the page must not tell it.
            ours = {"connection_id": link_id, "started_for": link_id, "return_url": returned.return_url}
            refusal.facts = {**ours, **refusal.facts}
            await self._refuse(link_id, refusal, granted.user if granted else None)
            raise

    async def choose(self, link: Link, xero_tenant_id: str) -> Link:
        """The connection settled on one of the organisations that its consent gave."""
        chosen = choice_of(link, xero_tenant_id)
        assert link.authorised_by is not None, "who offers organisations has consented"
        granted = Granted(user=link.authorised_by, scopes=link.scopes, authentication_event_id="")
        try:
            return await self._settle(link, chosen, granted, CALLER)
        except (PersonMustActError, OrganisationAlreadyConnectedError) as refusal:
            await self._refuse(link.id, refusal)
            raise

    async def _exchange(self, returned: Returned, code: str) -> Granted:
        """What the code gives, its tokens stored before they are used."""
        given = await self._means.identity.exchange(code=code, code_verifier=returned.code_verifier)
        granted = Granted(
            user=AuthorisedBy(xero_user_id=given.xero_user_id, email=given.email, name=given.name),
            scopes=given.scopes,
            authentication_event_id=given.authentication_event_id,
        )
        async with self._means.database.write() as tx:
            await self._means.tokens.keep(tx, given)
            await connections.mark_granted(tx, returned.state_hash, granted)
        return granted

    async def _settle_consent(self, connection_id: str, granted: Granted) -> Link:
        """Find the organisation that the consent was for; several wait to be chosen from."""
        async with self._means.database.read() as tx:
            link = await self._record.get(tx, connection_id)
        given = await self._given(link, granted)
        if not given:
            raise NoOrganisationError("The consent at Xero was given for no organisation. Please start again.")
        choices = tuple(
            OrganisationChoice(xero_tenant_id=m.xero_tenant_id, name=m.name, membership_id=m.membership_id)
            for m in given
        )
        if len(choices) == 1:
            return await self._settle(link, choices[0], granted, _name(granted.user))
        return await self._offer(link, choices, granted)

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

    async def _offer(self, before: Link, choices: tuple[OrganisationChoice, ...], granted: Granted) -> Link:
        """Have one of these organisations chosen; those that are connected already say by which connection."""
        async with self._means.database.write() as tx:
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
            return await self._record.change(tx, link, after, actor=_name(granted.user))

    async def _settle(self, before: Link, chosen: OrganisationChoice, granted: Granted, actor: str) -> Link:
        """Look into the chosen books, check that the user may do what we need, and connect."""
        user = granted.user
        books = self._means.library.open(chosen.xero_tenant_id, TokensOf(self._means.tokens, user.xero_user_id))
        organisation = await books.organisation(Purpose.CONNECT)
        user = await check_is_administrator(books, user, organisation)
        async with self._means.database.write() as tx:
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
            if link.authorised_by and link.authorised_by.xero_user_id != user.xero_user_id:
                await tokens.drop_unused(tx, link.authorised_by.xero_user_id, but_for=link.id)
            link = await self._access.gain(tx, link, after, actor=actor)
        logger.info("connected", connection_id=link.id, organisation=organisation.name)
        await self._wake_others_of(user.xero_user_id)
        return link

    async def _wake_others_of(self, xero_user_id: str) -> None:
        """Have this user's broken connections looked at: tokens are the user's, so they may work again, too."""
        now = self._means.clock.now()
        async with self._means.database.write() as tx:
            for connection_id in await connections.broken_of(tx, xero_user_id):
                await self._access.look_at(tx, connection_id, now)

    async def _refuse(self, connection_id: str, refusal: TieoutError, user: AuthorisedBy | None = None) -> None:
        """Tell watchers of the refusal; a connection that never worked gets it as its reason, others keep theirs."""
        now = self._means.clock.now()
        reason = reasons.of_error(refusal, now)
        async with self._means.database.write() as tx:
            link = await self._record.get(tx, connection_id, lock=True)
            if user:
                await tokens.drop_unused(tx, user.xero_user_id)
            if link.state in (ConnectionState.PENDING_AUTHORISATION, ConnectionState.PENDING_ORGANISATION):
                link = msgspec.structs.replace(link, updated_at=now, reason=reason)
                await connections.save(tx, link)
            kind, actor = LinkChangeKind.AUTHORISATION_REFUSED, _name(user) if user else TIEOUT
            await self._record.tell(tx, link, kind, from_state=link.state, reason=reason, actor=actor)


def _name(user: AuthorisedBy) -> str:
    """Whom the history names as the one who consented."""
    return user.email or user.xero_user_id
