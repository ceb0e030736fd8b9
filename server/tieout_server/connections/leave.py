"""Ending a connection: here at once, at Xero as soon as it answers."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import msgspec

from tieout_server import log
from tieout_server.connections import reasons
from tieout_server.connections.means import PURGE, TAKE_LEAVE, Means
from tieout_server.connections.messages import Disconnect
from tieout_server.connections.reasons import Case
from tieout_server.connections.record import Record
from tieout_server.connections.state import ConnectionHealth, ConnectionState, Happening, move
from tieout_server.errors import OperatorMustActError, PersonMustActError, TryAgainError
from tieout_server.ledger.links import CALLER, Link
from tieout_server.storage import connections, purge, tokens
from tieout_server.storage.database import Transaction
from tieout_server.work.engine import Job, Lane, Priority

logger = log.get("connections")

AtEnd = Callable[[Transaction, str], Awaitable[None]]
"""What else ends with a connection, in the same transaction."""

FIRST_RETRY = timedelta(seconds=5)
LAST_RETRY = timedelta(hours=1)


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
            if earlier := await self._means.requests.earlier(tx, "Disconnect", asked.request_id, asked, Link):
                return earlier
            before = link = await self._record.get(tx, asked.connection_id, lock=True)
            if asked.purge_data:
                link = await self._begin_purge(tx, link)
            if link.state != ConnectionState.DISCONNECTED:
                link = await self._end(tx, link)
            link = await self._record.change(tx, before, link, actor=CALLER)
            await self._means.requests.keep(tx, "Disconnect", asked.request_id, asked, link)
        return link

    async def _begin_purge(self, tx: Transaction, link: Link) -> Link:
        """Leave it to be erased; the next sync, if there is ever one, is a first one from now on."""
        await connections.begin_purge(tx, link.id)
        await purge.forget_watermarks(tx, link.id)
        await self._means.engine.wake(tx, PURGE, link.id, priority=Priority.ASKED)
        return msgspec.structs.replace(link, last_synced_at=None, gap_from_at=None)

    async def _end(self, tx: Transaction, link: Link) -> Link:
        await connections.withdraw_authorisations(tx, link.id)
        await self._means.engine.wake(tx, TAKE_LEAVE, link.id, priority=Priority.ASKED)
        for end in self._at_end:
            await end(tx, link.id)
        return msgspec.structs.replace(
            link,
            state=move(ConnectionState(link.state), Happening.ENDED),
            health=ConnectionHealth.OK,
            reason=reasons.disconnected(Case(link, self._means.clock.now())),
        )

    async def perform(self, job: Job) -> datetime | None:
        """Remove at Xero what this connection was linked to, and erase tokens that nobody needs any more.

        Somebody who was sent to consent anew meanwhile is waited for: Xero keeps the id of a link that is made again.
        """
        now = self._means.clock.now()
        async with self._means.database.read() as tx:
            link = await connections.get(tx, job.connection_id)
            if link is None or link.state != ConnectionState.DISCONNECTED or link.authorised_by is None:
                return None
            if open_until := await connections.consent_open_until(tx, link.id, now):
                return open_until
        try:
            await self._remove(link, link.authorised_by.xero_user_id)
        except (TryAgainError, OperatorMustActError) as trouble:
            lasts = now - link.reason.observed_at if link.reason else FIRST_RETRY
            again_at = now + min(max(lasts, FIRST_RETRY), LAST_RETRY)
            logger.warning(
                "not removed at Xero yet", connection_id=link.id, trouble=trouble.sentence, again_at=again_at
            )
            return again_at
        except PersonMustActError as gone:  # the consent is no longer good: nothing can be removed with it
            logger.info("nothing to remove at Xero", connection_id=link.id, found=gone.sentence)
        await self._erase_tokens(link.id)
        return None

    async def _remove(self, link: Link, xero_user_id: str) -> None:
        """Remove what no other connection stands on; the last of a user's takes the whole consent back."""
        memberships = {link.membership_id, *(choice.membership_id for choice in link.choices)} - {""}
        async with self._means.database.read() as tx:
            in_use = await connections.used_by_others(tx, memberships, link.id)
            is_last = not await tokens.others_stand_on(tx, xero_user_id, link.id)
        if not memberships:
            return
        access_token = await self._means.tokens.renew(xero_user_id)
        for membership_id in sorted(memberships - set(in_use)):
            await self._means.identity.disconnect(access_token, membership_id)
        if is_last:
            await self._means.tokens.revoke(xero_user_id)
        logger.info("removed at Xero", connection_id=link.id, revoked=is_last)

    async def _erase_tokens(self, connection_id: str) -> None:
        async with self._means.database.write() as tx:
            link = await self._record.get(tx, connection_id, lock=True)
            if link.state != ConnectionState.DISCONNECTED or link.authorised_by is None:
                return
            await connections.save(tx, msgspec.structs.replace(link, membership_id="", choices=()))
            await tokens.drop_unused(tx, link.authorised_by.xero_user_id)
