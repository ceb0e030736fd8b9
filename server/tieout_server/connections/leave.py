"""Ending a connection: here at once, at Xero as soon as it answers.

What serves no connection any more is removed at Xero: what a connection stood on that was ended or connected anew, and
what a consent linked of which nothing came. Xero does not offer an organisation to somebody who has it linked already
(Xero, Permissions), so what stayed there would keep them from connecting it again.

Tokens are the user's. While a consent of theirs has given some and is not settled, nothing of theirs is removed; while
something is, such a consent waits (`Tokens.wait_for_leave`).
"""

import functools
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from tieout_server import log
from tieout_server.connections import reasons
from tieout_server.connections.consent_rules import linked
from tieout_server.connections.means import PURGE, TAKE_LEAVE, Means
from tieout_server.connections.messages import Disconnect, Settled
from tieout_server.connections.reasons import Case
from tieout_server.connections.record import Record
from tieout_server.connections.state import ConnectionHealth, ConnectionState, Happening, move
from tieout_server.errors import (
    CredentialsExpiredError,
    DrainingError,
    OperatorMustActError,
    StorageUnavailableError,
    TieoutError,
    TryAgainError,
)
from tieout_server.ledger.links import CALLER, Link
from tieout_server.storage import connections, leavings, purge, tokens
from tieout_server.storage.database import Transaction
from tieout_server.storage.leavings import Leaving, Left
from tieout_server.work.engine import Job, Lane, Priority

logger = log.get("connections")

AtEnd = Callable[[Transaction, str], Awaitable[None]]
"""What else ends with a connection, in the same transaction."""

FIRST_RETRY = timedelta(seconds=5)
LAST_RETRY = timedelta(minutes=10)
"""Well within the 30 minutes in which a refresh whose answer was lost may be asked for again (Xero, Token types)."""
GIVE_UP = timedelta(days=1)
"""After which what Xero refuses in a way that no waiting mends is left there."""
A_MOMENT = timedelta(seconds=30)
"""After which it is looked whether a consent of the user is settled."""


class _ConsentingError(Exception):
    """A consent of this user is under way: nobody knows yet what it linked."""


class Leave:
    """Disconnects connections, and removes at Xero what they were linked to."""

    def __init__(self, means: Means, record: Record) -> None:
        self._means = means
        self._record = record
        self._at_end: list[AtEnd] = []
        means.engine.register(TAKE_LEAVE, Lane.READ, self.perform)

    def at_end(self, end: AtEnd) -> None:
        """Have this ended, too, when a connection is."""
        self._at_end.append(end)

    async def disconnect(self, asked: Disconnect) -> Link:
        """End a connection; one that is ended is answered as it is, and may still be purged.

        Raises:
            NotFoundError: there is no such connection.
            RequestIdReusedError: the request_id came before with other content.
        """
        async with self._means.database.write() as tx:
            if earlier := await self._means.requests.earlier(tx, "Disconnect", asked.request_id, asked, Settled):
                return await self._record.get(tx, earlier.connection_id)
            before = link = await self._record.get(tx, asked.connection_id, lock=True)
            if asked.purge_data:
                link = await self._begin_purge(tx, link)
            if link.state != ConnectionState.DISCONNECTED:
                link = await self._end(tx, link)
            link = await self._record.change(tx, before, link, actor=CALLER)
            await self._means.requests.keep(tx, "Disconnect", asked.request_id, asked, Settled(link.id))
        return link

    async def _begin_purge(self, tx: Transaction, link: Link) -> Link:
        """Leave it to be erased; the next sync, if there is ever one, is a first one from now on."""
        await connections.begin_purge(tx, link.id)
        await purge.forget_watermarks(tx, link.id)
        await self._means.engine.wake(tx, PURGE, link.id, priority=Priority.ASKED)
        return msgspec.structs.replace(link, last_synced_at=None, gap_from_at=None)

    async def _end(self, tx: Transaction, link: Link) -> Link:
        await self._means.authorisations.withdraw(tx, link.id, in_hand=True)
        await leavings.add(tx, link.id, linked(link), self._means.clock.now())
        await self._means.engine.wake(tx, TAKE_LEAVE, link.id, priority=Priority.ASKED)
        for end in self._at_end:
            await end(tx, link.id)
        return msgspec.structs.replace(
            link,
            state=move(ConnectionState(link.state), Happening.ENDED),
            health=ConnectionHealth.OK,
            reason=reasons.disconnected(Case(link, self._means.clock.now())),
            membership_id="",
            choices=(),
        )

    async def perform(self, job: Job) -> datetime | None:
        """Remove at Xero what this connection left behind, and erase tokens that nobody needs any more.

        Somebody who was sent to consent anew meanwhile is waited for: they are not offered what is linked, and need
        it to be so when they come back.
        """
        async with self._means.database.write() as tx:
            await self._record.get(tx, job.connection_id, lock=True)
            await self._means.authorisations.abandon(tx, job.connection_id)
            open_until = await self._means.authorisations.open_until(tx, job.connection_id)
            left = await leavings.of(tx, job.connection_id)
            await job.hold(tx)
        if open_until or not left:
            return open_until
        again: list[datetime] = []
        for user in sorted({leaving.xero_user_id for leaving in left.leavings}):
            theirs = Left([leaving for leaving in left.leavings if leaving.xero_user_id == user], left.since)
            if again_at := await self._leave(job, user, theirs):
                again.append(again_at)
        return min(again, default=None)

    async def _leave(self, job: Job, user: str, left: Left) -> datetime | None:
        """Remove what was linked by this user; answers when to try again."""
        now = self._means.clock.now()
        try:
            await self._remove(job, user, left.leavings)
        except _ConsentingError:
            return now + A_MOMENT
        except CredentialsExpiredError as gone:  # with the consent went all that it linked
            logger.info("nothing to remove at Xero", connection_id=job.connection_id, found=gone.sentence)
        except DrainingError:
            raise
        except TieoutError as trouble:
            lasts = now - left.since
            passes = isinstance(trouble, TryAgainError | OperatorMustActError | StorageUnavailableError)
            if passes or lasts < GIVE_UP:
                again_at = now + min(max(lasts, FIRST_RETRY), LAST_RETRY)
                said = {"connection_id": job.connection_id, "trouble": trouble.sentence, "again_at": again_at}
                logger.warning("not removed at Xero yet", **said)
                return again_at
            logger.exception("given up removing at Xero", connection_id=job.connection_id, trouble=trouble.sentence)
        await self._finish(job, user, left.leavings)
        return None

    async def _remove(self, job: Job, user: str, left: Sequence[Leaving]) -> None:
        """Remove what no connection stands on; the last of a user's takes the whole consent back."""
        means, removed = self._means, 0
        access_token = await means.tokens.access_token(user)
        for membership_id in await self._memberships(access_token, left):

            async def is_free(tx: Transaction, membership_id: str = membership_id) -> bool:
                return not await connections.is_used(tx, user, membership_id)

            removed += await self._step(
                job, user, is_free, functools.partial(means.identity.disconnect, access_token, membership_id)
            )

        async def is_last(tx: Transaction) -> bool:
            if not await tokens.is_stood_on(tx, user) and not await leavings.others_leave(tx, user, job.connection_id):
                return True
            await leavings.done(tx, job.connection_id, left)  # here: of two that end together one has to be the last
            return False

        revoked = await self._step(job, user, is_last, functools.partial(means.tokens.revoke, user))
        logger.info("removed at Xero", connection_id=job.connection_id, links=removed, revoked=revoked)

    async def _memberships(self, access_token: str, left: Sequence[Leaving]) -> Sequence[str]:
        """The links to be removed, those of consents looked up at Xero."""
        found = {leaving.membership_id for leaving in left} - {""}
        for event_id in {leaving.event_id for leaving in left} - {""}:
            listed = await self._means.identity.memberships(access_token, authentication_event_id=event_id)
            found |= {membership.membership_id for membership in listed}
        return sorted(found)

    async def _step(
        self, job: Job, user: str, may: Callable[[Transaction], Awaitable[bool]], call: Callable[[], Awaitable[None]]
    ) -> bool:
        """Make this call if it may be made now, and nobody's consent comes in between; says whether it was.

        Raises:
            _ConsentingError: a consent of this user is not settled yet.
            CredentialsExpiredError: there are no tokens of this user any more.
        """
        async with self._means.database.write() as tx:
            await self._record.get(tx, job.connection_id, lock=True)  # as Reconnect does: it comes before or after
            if await tokens.get(tx, user, lock=True) is None:
                raise CredentialsExpiredError("There are no tokens of the authorising user any more.")
            is_open = await self._means.authorisations.open_until(tx, job.connection_id)
            if is_open or await tokens.is_consenting(tx, user):
                raise _ConsentingError
            if not await may(tx):
                return False
            await tokens.mark_leaving(tx, user, self._means.clock.now() + self._means.tokens.claim)
            await job.hold(tx)
        try:
            await call()
        finally:
            async with self._means.database.write() as tx:
                await tokens.mark_leaving(tx, user, None)
        return True

    async def _finish(self, job: Job, user: str, left: Sequence[Leaving]) -> None:
        async with self._means.database.write() as tx:
            await tokens.get(tx, user, lock=True)  # a consent that has just given tokens is seen after that
            await leavings.done(tx, job.connection_id, left)
            await tokens.drop_unused(tx, user)
            await job.hold(tx)
