"""Whether a connection has access to its books: gaining it, finding out, and losing it."""

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, assert_never

import msgspec

from tieout_server import log
from tieout_server.connections import reasons
from tieout_server.connections.administrator import find_user
from tieout_server.connections.diagnosis import (
    Certainty,
    Circumstances,
    Sightings,
    Verdict,
    diagnose,
    membership_of,
    role_seen,
)
from tieout_server.connections.means import AFTER_CONSENT, LOOK_AFTER, Means
from tieout_server.connections.messages import Checked
from tieout_server.connections.probe import Probe
from tieout_server.connections.record import Record
from tieout_server.connections.standing import standing
from tieout_server.connections.state import HAS_ACCESS, ConnectionHealth, ConnectionState, Happening, move
from tieout_server.errors import AccessRevokedError, PersonMustActError, ScopeMissingError, TieoutError
from tieout_server.ledger.books import Membership
from tieout_server.ledger.documents import Entity, Organisation
from tieout_server.ledger.links import TIEOUT, AuthorisedBy, Link, Observation, Reason, ReasonCode
from tieout_server.storage import connections, tokens, watermarks
from tieout_server.storage.database import Transaction
from tieout_server.work.engine import Priority

logger = log.get("connections")

AtStart = Callable[[Transaction, str], Awaitable[None]]
"""What else goes on once a connection has access, in the same transaction."""

SOON = timedelta(minutes=1)
"""After which a connection that met a passing trouble is looked at again."""
LATE = timedelta(minutes=10)
"""After which it is at the latest: an answer that was lost may have been a token refresh, and the old refresh token is
good for 30 minutes more (Xero, Token types)."""
LOOKED_FOR = (
    ReasonCode.ORGANISATION_UNAVAILABLE,
    ReasonCode.AUTHORISING_USER_REMOVED,
    ReasonCode.AUTHORISING_USER_DOWNGRADED,
)
"""Warnings that stand until a look finds them gone; others are read off what is recorded."""


class Access:
    """Gives connections access to their books, and takes note of what becomes of it."""

    def __init__(self, means: Means, record: Record) -> None:
        self._means = means
        self._record = record
        self._probe = Probe(means.tokens, means.identity, means.library, means.clock)
        self._at_start: list[AtStart] = []
        self._chance = random.Random()  # noqa: S311 - spreads looks over the day, guards nothing

    def at_start(self, start: AtStart) -> None:
        """Have this go on, too, when a connection gets access to its books (again)."""
        self._at_start.append(start)

    async def gain(self, tx: Transaction, link: Link, gained: Link, *, actor: str = TIEOUT) -> Link:
        """Make a connection that is locked one that is CONNECTED, as given; what was missed is read next."""
        if link.state != ConnectionState.CONNECTED and link.gap_from_at is None and link.last_synced_at:
            gained = msgspec.structs.replace(gained, gap_from_at=await _known_up_to(tx, link))
        await self._means.engine.wake(tx, AFTER_CONSENT, link.id, priority=Priority.ASKED)
        await self.look_at(tx, link.id, self._means.clock.now() + self._a_while())
        for start in self._at_start:
            await start(tx, link.id)
        return await self._record.change(tx, link, await self._with_warning(tx, gained), actor=actor)

    async def examine(self, link: Link, cause: PersonMustActError | None = None) -> Checked:
        """Find out whether a connection works, and move it to the state which that proves."""
        generation = await self._generation(link)
        try:
            seen = await self._probe.examine(link)
        except asyncio.CancelledError:  # perhaps within a token refresh: see LATE
            async with self._means.database.write() as tx:
                await self.look_at(tx, link.id, self._means.clock.now() + SOON)
            raise
        if isinstance(cause, AccessRevokedError | ScopeMissingError):
            refused = Observation(
                reasons.REFUSED_CALL, reasons.words_of(cause), self._means.clock.now(), is_trouble=True
            )
            seen = dataclasses.replace(seen, observations=(*seen.observations, refused))
        return await self._note(link, seen, generation, cause)

    async def glance(self, link: Link, *, idle: bool) -> Checked:
        """Look whether all is well, with few calls; whatever seems lost is examined."""
        generation = await self._generation(link)
        seen = await self._probe.glance(link, idle=idle)
        if diagnose(link, seen, Circumstances(self._means.clock.now())).certainty is Certainty.LOST:
            return await self.examine(link)
        return await self._note(link, seen, generation)

    async def note_trouble(self, tx: Transaction, link: Link, trouble: Reason | None) -> Link:
        """Note on a connection that is locked what holds it up for a while; None: that has passed, if anything did."""
        if link.state != ConnectionState.CONNECTED:
            return link
        is_held_up = link.reason is not None and link.reason.code in reasons.TEMPORARY
        if trouble and not (link.reason and link.reason.code == trouble.code):
            return await self._record.change(tx, link, _held_up(link, trouble))
        if trouble and link.reason:  # the same one, which may last longer than was told
            lasting = msgspec.structs.replace(link.reason, retry_at=trouble.retry_at)
            return await self._record.change(tx, link, _degraded(link, lasting))
        if trouble is None and is_held_up:
            covered = reasons.warning(link.reason)
            is_known = covered is not None and covered.code in LOOKED_FOR
            wanted = _degraded(link, covered) if is_known else await self._with_warning(tx, link)
            return await self._change_to(tx, link, wanted)
        return link

    async def look_at(self, tx: Transaction, connection_id: str, at: datetime) -> None:
        """Have the connection looked after at this instant, or earlier."""
        await self._means.engine.wake(tx, LOOK_AFTER, connection_id, priority=Priority.UPKEEP, at=at)

    def look_again_at(self, link: Link, *, is_open: bool) -> datetime:
        """When to look again at a connection that has access or lost it; `is_open` says that nothing was proven."""
        now = self._means.clock.now()
        if link.state != ConnectionState.CONNECTED:  # its tokens live on that way, and it may have healed
            return now + (LATE if is_open else 7 * self._means.look_every)
        if link.reason is None or not reasons.passes(link.reason):
            return now + (min(SOON, self._means.look_every) if is_open else self._a_while())
        # The longer it lasts, the less often: a look costs up to five calls.
        lasts = min(max(now - link.reason.observed_at, SOON), LATE)
        return max(now + lasts, link.reason.retry_at or now)

    def _a_while(self) -> timedelta:
        """How long what works is left alone, shortened by chance so that not all connections are looked at together."""
        return self._means.look_every * self._chance.uniform(0.75, 1.0)

    async def _generation(self, link: Link) -> int | None:
        """Which of the user's token sets is the newest now."""
        async with self._means.database.read() as tx:
            return await _generation(tx, link)

    async def _note(
        self, before: Link, seen: Sightings, generation: int | None, cause: PersonMustActError | None = None
    ) -> Checked:
        """Keep what was seen and move the connection to the state which that proves.

        What was seen of an older consent proves nothing of a newer one, and tokens that were no good nothing of those
        that came meanwhile by a consent for another connection of the same user.
        """
        async with self._means.database.write() as tx:
            link = await self._record.get(tx, before.id, lock=True)
            if link.state not in HAS_ACCESS or link.consented_at != before.consented_at:
                return Checked(link, seen.observations)
            found = await self._as_seen(tx, link, seen)
            known = Circumstances(
                at=self._means.clock.now(),
                asked_scopes=self._means.identity.scopes,
                credentials_expire_at=await self._expires_at(tx, link),
                cause=cause,
            )
            verdict = diagnose(found, seen, known)
            if _is_of_tokens(verdict) and await _generation(tx, link) != generation:
                verdict = Verdict(Certainty.TEMPORARY)
            logger.info("looked at", connection_id=link.id, verdict=verdict.certainty.value)
            link = await self._follow(tx, link, found, verdict)
        return Checked(link, seen.observations, is_open=verdict.certainty is Certainty.TEMPORARY)

    async def _follow(self, tx: Transaction, link: Link, found: Link, verdict: Verdict) -> Link:
        """What follows from this verdict, for a connection that is locked and as it was found."""
        is_connected = link.state == ConnectionState.CONNECTED
        match verdict.certainty:
            case Certainty.LOST:
                state = move(ConnectionState(link.state), Happening.ACCESS_LOST)
                return await self._change_to(
                    tx, link, msgspec.structs.replace(found, state=state, reason=verdict.reason)
                )
            case Certainty.TEMPORARY:
                return await self._wait(tx, link, found, verdict)
            case Certainty.WARNING:
                warned = msgspec.structs.replace(found, reason=verdict.reason)
                return await self._change_to(tx, link, _degraded(found, verdict.reason) if is_connected else warned)
            case Certainty.WORKS if reasons.only_reading_tells(link.reason):
                return await self._change_to(tx, link, found)
            case Certainty.WORKS if is_connected:
                return await self._change_to(tx, link, await self._with_warning(tx, found))
            case Certainty.WORKS:
                return await self._regain(tx, link, found)
            case _:
                assert_never(verdict.certainty)

    async def _wait(self, tx: Transaction, link: Link, found: Link, verdict: Verdict) -> Link:
        """Note a trouble that passes on a connection that works otherwise, and have it looked at again."""
        wanted = link
        if link.state == ConnectionState.CONNECTED:
            wanted = _as_known(link, _held_up(found, verdict.reason) if verdict.reason else found)
        await self.look_at(tx, link.id, self.look_again_at(wanted, is_open=True))
        return await self._record.change(tx, link, wanted)

    async def _regain(self, tx: Transaction, link: Link, found: Link) -> Link:
        """Connect again what works again, unless another connection has the organisation by now."""
        is_scope = link.reason is not None and link.reason.code is ReasonCode.SCOPE_MISSING
        if is_scope and set(found.scopes) <= set(link.scopes):
            return link  # looking needs fewer scopes than reading does
        if await connections.holder_of(tx, link.xero_tenant_id):
            return link
        state = move(ConnectionState(link.state), Happening.ACCESS_REGAINED)
        return await self.gain(tx, link, msgspec.structs.replace(found, state=state))

    async def _with_warning(self, tx: Transaction, link: Link) -> Link:
        """The connection with the warning that stands against it, if any does."""
        expires_at = await self._expires_at(tx, link)
        return _degraded(link, standing(link, self._means.identity.scopes, expires_at, self._means.clock.now()))

    async def _expires_at(self, tx: Transaction, link: Link) -> datetime | None:
        user = link.authorised_by.xero_user_id if link.authorised_by else ""
        return (await tokens.expiries(tx, (user,))).get(user)

    async def _change_to(self, tx: Transaction, link: Link, wanted: Link) -> Link:
        """Change the connection to what is wanted, as far as that is news."""
        return await self._record.change(tx, link, _as_known(link, wanted))

    async def _as_seen(self, tx: Transaction, link: Link, seen: Sightings) -> Link:
        """The connection with the particulars that were seen: the organisation's, the user's, the consent's."""
        changes: dict[str, Any] = {}
        if isinstance(seen.organisation, Organisation):
            changes["organisation"] = seen.organisation
        if membership := membership_of(link, _listed(seen)):
            changes["membership_id"] = membership.membership_id
        if (user := link.authorised_by) is not None:
            changes["authorised_by"] = _user_as_seen(link, user, seen)
            stored = await tokens.get(tx, user.xero_user_id)
            if stored and stored.scopes and set(stored.scopes) != set(link.scopes):
                changes["scopes"] = stored.scopes
        return msgspec.structs.replace(link, **changes)


def _listed(seen: Sightings) -> Sequence[Membership]:
    return () if seen.memberships is None or isinstance(seen.memberships, TieoutError) else seen.memberships


def _user_as_seen(link: Link, user: AuthorisedBy, seen: Sightings) -> AuthorisedBy:
    """The user with the name and the role that the organisation's list gives them, where it tells."""
    if seen.users is None or isinstance(seen.users, TieoutError) or not (role := role_seen(link, seen.users)):
        return user
    known = find_user(seen.users, user)
    return msgspec.structs.replace(user, name=known.name if known else user.name, organisation_role=role)


def _degraded(link: Link, reason: Reason | None) -> Link:
    health = ConnectionHealth.DEGRADED if reason else ConnectionHealth.OK
    return msgspec.structs.replace(link, health=health, reason=reason)


def _held_up(link: Link, trouble: Reason) -> Link:
    """The connection with this trouble, which covers its warning until it has passed."""
    return _degraded(link, msgspec.structs.replace(trouble, covers=reasons.warning(link.reason)))


def _as_known(link: Link, wanted: Link) -> Link:
    """What is wanted; a reason that is no news stays, with when it was first seen."""
    for known in (link.reason, reasons.warning(link.reason)):
        if wanted.reason and known and _is_same(known, wanted.reason):
            return msgspec.structs.replace(wanted, reason=known)
    return wanted


def _is_of_tokens(verdict: Verdict) -> bool:
    """Whether it was proven by the tokens alone."""
    reason = verdict.reason if verdict.certainty is Certainty.LOST else None
    return reason is not None and reason.code is ReasonCode.CREDENTIALS_EXPIRED


def _is_same(one: Reason, other: Reason) -> bool:
    return (one.code, one.owner, one.sentence, one.retry_at) == (
        other.code,
        other.owner,
        other.sentence,
        other.retry_at,
    )


async def _generation(tx: Transaction, link: Link) -> int | None:
    stored = await tokens.get(tx, link.authorised_by.xero_user_id) if link.authorised_by else None
    return stored.generation if stored else None


async def _known_up_to(tx: Transaction, link: Link) -> datetime | None:
    """The instant, by Xero's clock, up to which everything is here that is read through the day; accounts are not."""
    marks = await watermarks.every(tx, link.id)
    return min((mark.watermark_at for entity, mark in marks.items() if entity is not Entity.ACCOUNTS), default=None)
