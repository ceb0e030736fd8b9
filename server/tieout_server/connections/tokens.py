"""Access tokens of Xero users: kept sealed, refreshed by one caller at a time, whichever process it is in.

Tokens belong to a user, not to an organisation (Xero, Token types), so two organisations of one user share them;
each refresh rotates the refresh token. The new one is stored before the new access token is used. If its answer is
lost, or the process dies before it is stored, the old one is good for another 30 minutes and simply used again.
"""

import asyncio
import contextlib
import functools
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from tieout_server import log
from tieout_server.clock import Clock
from tieout_server.errors import CredentialsExpiredError, StorageUnavailableError
from tieout_server.ledger.books import Identity, TokenSet
from tieout_server.storage import tokens
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.sealed import access_token_of, refresh_token_of
from tieout_server.storage.tokens import Claim, StoredTokens
from tieout_server.storage.vault import Vault

logger = log.get("tokens")

REFRESH_LIFE = timedelta(days=60)
"""How long an unused refresh token is good: Xero, Token types. Xero does not state it in its answers."""
IDLE = timedelta(days=6)
"""How long tokens may lie unused before the next daily look refreshes them all the same: weekly at least."""
LEEWAY = timedelta(seconds=60)
"""A token that lives no longer than this is refreshed first, so that it does not expire on the way."""
MARGIN = timedelta(seconds=15)
"""How much longer than a call to Xero may take one process may take to refresh, before another one may."""
RETRY = 1.0
"""Seconds between tries to store new tokens while the database is away."""
POLL = 0.1
"""Seconds between looks whether another process has refreshed."""


class _InUse(NamedTuple):
    """An access token as it is handed out; its repr does not show it."""

    token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"_InUse(expires_at={self.expires_at!r})"


class Tokens:
    """The token sets of all users."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        identity: Identity,
        clock: Clock,
        *,
        call_takes: timedelta = timedelta(seconds=60),
        name: Callable[[], str] | None = None,
    ) -> None:
        """`call_takes`: how long one call to the identity service may take; `name`: of this process, among others."""
        self.claim = call_takes + MARGIN
        """How long one process may have one call to Xero to itself."""
        self._database = database
        self._vault = vault
        self._identity = identity
        self._clock = clock
        self._name = name or functools.partial(str, secrets.token_hex(8))
        self._refreshing: dict[str, asyncio.Lock] = {}
        self._in_use: dict[str, _InUse] = {}

    async def recover(self) -> None:
        """Give back what an earlier process had claimed. Only where this process is the only one on the database."""
        async with self._database.write() as tx:
            await tokens.release_all(tx)

    async def keep(self, tx: Transaction, given: TokenSet) -> None:
        """Store a token set that a consent gave."""
        user = given.xero_user_id
        self._database.after_commit(tx, functools.partial(self._forget, user))
        await tokens.keep(tx, self._sealed(given), self._clock.now())

    async def access_token(self, xero_user_id: str, *, refused: str | None = None) -> str:
        """This user's access token, good for at least a minute, and not the one that Xero just refused.

        However many ask at once, in however many processes, the token is refreshed once.

        Raises:
            CredentialsExpiredError: a person has to consent again.
            XeroUnavailableError: Xero does not answer; nothing is lost, ask again later.
        """
        in_use = self._in_use.get(xero_user_id)
        if in_use and in_use.token != refused and in_use.expires_at - self._clock.now() > LEEWAY:
            return in_use.token  # good until it expires, even if another process has fetched a newer one
        return await self._good(xero_user_id, functools.partial(self._usable, refused=refused))

    async def renew(self, xero_user_id: str) -> str:
        """An access token that was refreshed after this was called, by whomever.

        Raises:
            CredentialsExpiredError: a person has to consent again.
            XeroUnavailableError: Xero does not answer; nothing is lost, ask again later.
        """
        before = await self._stored(xero_user_id)

        def newer(stored: StoredTokens) -> str | None:
            return self._usable(stored) if stored.generation != before.generation else None

        return await self._good(xero_user_id, newer)

    async def is_idle(self, xero_user_id: str) -> bool:
        """Whether the tokens have not been refreshed for nearly a week; 60 days are what they have.

        Raises:
            CredentialsExpiredError: there are none.
        """
        stored = await self._stored(xero_user_id)
        return self._clock.now() - (stored.refresh_expires_at - REFRESH_LIFE) >= IDLE

    async def revoke(self, xero_user_id: str) -> None:
        """Take the user's consent back at Xero, with everything that it linked. The tokens stay, good for nothing.

        Raises:
            CredentialsExpiredError: there are none.
            XeroUnavailableError: Xero does not answer; ask again later.
        """
        await self._identity.revoke(self._refresh_token(await self._stored(xero_user_id)))

    async def wait_for_leave(self, xero_user_id: str) -> None:
        """Return once nothing that this user linked is just being removed at Xero.

        Nothing more will be while a consent of theirs has given tokens and is not settled.
        """
        while True:
            async with self._database.read() as tx:
                if not await self.is_leaving(tx, xero_user_id):
                    return
            await self._clock.sleep(POLL)

    async def is_leaving(self, tx: Transaction, xero_user_id: str) -> bool:
        """Whether something that this user linked is just being removed at Xero."""
        stored = await tokens.get(tx, xero_user_id)
        return bool(stored and stored.leaving_until and stored.leaving_until > self._clock.now())

    async def _good(self, xero_user_id: str, good: Callable[[StoredTokens], str | None]) -> str:
        """The token that is good, refreshed if there is none."""
        if token := good(await self._stored(xero_user_id)):
            return token
        async with self._refreshing.setdefault(xero_user_id, asyncio.Lock()):
            while True:
                stored = await self._stored(xero_user_id)  # whoever was first has refreshed it meanwhile
                if token := good(stored):
                    return token
                if stored.claimed_until is None or stored.claimed_until <= self._clock.now():
                    async with self._claimed(stored) as is_ours:
                        if is_ours:
                            return await self._refresh(stored)
                await self._clock.sleep(POLL)

    @contextlib.asynccontextmanager
    async def _claimed(self, stored: StoredTokens) -> AsyncIterator[bool]:
        """Whether the right to refresh this token set is ours, which then lasts as long as the block or `claim`."""
        claim, now = Claim(stored.xero_user_id, stored.generation, self._name()), self._clock.now()
        is_ours = False
        try:
            async with self._database.write() as tx:
                is_ours = await tokens.claim_refresh(tx, claim, now=now, until=now + self.claim)
            yield is_ours
        except BaseException:
            if is_ours:  # a token set that was stored has ended the claim
                async with self._database.write() as tx:
                    await tokens.release_refresh(tx, claim)
            raise

    async def _stored(self, xero_user_id: str) -> StoredTokens:
        async with self._database.read() as tx:
            stored = await tokens.get(tx, xero_user_id)
        if stored is None:
            raise CredentialsExpiredError("There are no tokens of the authorising user any more.")
        return stored

    def _usable(self, stored: StoredTokens, refused: str | None = None) -> str | None:
        if stored.access_expires_at - self._clock.now() <= LEEWAY:
            return None
        token = self._vault.open(stored.access_token, context=access_token_of(stored.xero_user_id))
        if token == refused:
            return None
        self._in_use[stored.xero_user_id] = _InUse(token, stored.access_expires_at)
        return token

    async def _refresh(self, stored: StoredTokens) -> str:
        fresh = await self._identity.refresh(self._refresh_token(stored))
        if not fresh.scopes:  # not stated: those of before (RFC 6749, 5.1)
            fresh = msgspec.structs.replace(fresh, scopes=stored.scopes)
        is_newest = await self._replace(stored, fresh)
        if not is_newest:  # a consent came in between, or another process was faster
            return self._usable(await self._stored(stored.xero_user_id)) or fresh.access_token
        self._forget(stored.xero_user_id)
        logger.info("tokens refreshed", xero_user_id=stored.xero_user_id)
        return fresh.access_token

    async def _replace(self, stored: StoredTokens, fresh: TokenSet) -> bool:
        """Store what came for this token set, however long the database is away; False if there is a newer one by now.

        Given up it would be lost, and the old refresh token is good for half an hour only.
        """
        while True:
            try:
                async with self._database.write() as tx:
                    return await tokens.replace(tx, stored.generation, self._sealed(fresh), self._clock.now())
            except StorageUnavailableError:
                await self._clock.sleep(RETRY)

    def _refresh_token(self, stored: StoredTokens) -> str:
        return self._vault.open(stored.refresh_token, context=refresh_token_of(stored.xero_user_id))

    def _forget(self, xero_user_id: str) -> None:
        """What was in use is older than what is kept now."""
        self._in_use.pop(xero_user_id, None)

    def _sealed(self, given: TokenSet) -> StoredTokens:
        user = given.xero_user_id
        return StoredTokens(
            xero_user_id=user,
            access_token=self._vault.seal(given.access_token, context=access_token_of(user)),
            refresh_token=self._vault.seal(given.refresh_token, context=refresh_token_of(user)),
            access_expires_at=given.access_expires_at,
            refresh_expires_at=self._clock.now() + REFRESH_LIFE,
            scopes=given.scopes,
        )


class TokensOf:
    """The access tokens of one user: what a call to Xero is handed (`ledger.books.AccessTokens`)."""

    def __init__(self, tokens_: Tokens, xero_user_id: str) -> None:
        self._tokens = tokens_
        self._xero_user_id = xero_user_id

    async def access_token(self, *, refused: str | None = None) -> str:
        """A token that should be good; `refused` names one that Xero just refused."""
        return await self._tokens.access_token(self._xero_user_id, refused=refused)
