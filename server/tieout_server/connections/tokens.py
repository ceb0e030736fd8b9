"""Access tokens of Xero users: kept sealed, refreshed by one caller at a time.

Tokens belong to a user, not to an organisation (Xero, Token types), so two organisations of one user share them;
each refresh rotates the refresh token. The new one is stored before the new access token is used. If its answer is
lost, the old one is good for another 30 minutes and simply used again.
"""

import asyncio
import functools
from datetime import datetime, timedelta
from typing import NamedTuple

from tieout_server import log
from tieout_server.clock import Clock
from tieout_server.errors import CredentialsExpiredError
from tieout_server.ledger.books import Identity, TokenSet
from tieout_server.storage import connections
from tieout_server.storage.connections import StoredTokens
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.vault import Vault

logger = log.get("tokens")

REFRESH_LIFE = timedelta(days=60)
"""How long an unused refresh token is good: Xero, Token types. Xero does not state it in its answers."""
LEEWAY = timedelta(seconds=60)
"""A token that lives no longer than this is refreshed first, so that it does not expire on the way."""


class _InUse(NamedTuple):
    """An access token as it is handed out; its repr does not show it."""

    token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"_InUse(expires_at={self.expires_at!r})"


class Tokens:
    """The token sets of all users."""

    def __init__(self, database: Database, vault: Vault, identity: Identity, clock: Clock) -> None:
        self._database = database
        self._vault = vault
        self._identity = identity
        self._clock = clock
        self._refreshing: dict[str, asyncio.Lock] = {}
        self._in_use: dict[str, _InUse] = {}

    async def keep(self, tx: Transaction, tokens: TokenSet) -> None:
        """Store a token set that a consent or a refresh gave."""
        user = tokens.xero_user_id
        self._database.after_commit(tx, functools.partial(self._forget, user))
        await connections.keep_tokens(tx, self._sealed(tokens), self._clock.now())

    async def access_token(self, xero_user_id: str, *, refused: str | None = None) -> str:
        """This user's access token, good for at least a minute, and not the one that Xero just refused.

        However many ask at once, the token is refreshed once.

        Raises:
            CredentialsExpiredError: a person has to consent again.
            XeroUnavailableError: Xero does not answer; nothing is lost, ask again later.
        """
        in_use = self._in_use.get(xero_user_id)
        if in_use and in_use.token != refused and in_use.expires_at - self._clock.now() > LEEWAY:
            return in_use.token  # good until it expires, even if another process has fetched a newer one
        current = await self._stored(xero_user_id)
        if token := self._usable(current, refused):
            return token
        async with self._refreshing.setdefault(xero_user_id, asyncio.Lock()):
            current = await self._stored(xero_user_id)  # whoever was first has refreshed it meanwhile
            if token := self._usable(current, refused):
                return token
            return await self._refresh(current)

    async def _stored(self, xero_user_id: str) -> StoredTokens:
        async with self._database.read() as tx:
            stored = await connections.tokens_of(tx, xero_user_id)
        if stored is None:
            raise CredentialsExpiredError("There are no tokens of the authorising user any more.")
        return stored

    def _usable(self, stored: StoredTokens, refused: str | None) -> str | None:
        if stored.access_expires_at - self._clock.now() <= LEEWAY:
            return None
        token = self._vault.open(stored.access_token, context=f"access/{stored.xero_user_id}")
        if token == refused:
            return None
        self._in_use[stored.xero_user_id] = _InUse(token, stored.access_expires_at)
        return token

    async def _refresh(self, stored: StoredTokens) -> str:
        refresh_token = self._vault.open(stored.refresh_token, context=f"refresh/{stored.xero_user_id}")
        fresh = await self._identity.refresh(refresh_token)
        async with self._database.write() as tx:
            kept = await connections.replace_tokens(tx, stored.generation, self._sealed(fresh), self._clock.now())
        if not kept:  # a consent came in between, or another process was faster: theirs is newer than ours
            return self._usable(await self._stored(stored.xero_user_id), None) or fresh.access_token
        self._forget(stored.xero_user_id)
        logger.info("tokens refreshed", xero_user_id=stored.xero_user_id)
        return fresh.access_token

    def _forget(self, xero_user_id: str) -> None:
        """What was in use is older than what is kept now."""
        self._in_use.pop(xero_user_id, None)

    def _sealed(self, tokens: TokenSet) -> StoredTokens:
        user = tokens.xero_user_id
        return StoredTokens(
            xero_user_id=user,
            access_token=self._vault.seal(tokens.access_token, context=f"access/{user}"),
            refresh_token=self._vault.seal(tokens.refresh_token, context=f"refresh/{user}"),
            access_expires_at=tokens.access_expires_at,
            refresh_expires_at=self._clock.now() + REFRESH_LIFE,
            scopes=tokens.scopes,
        )


class TokensOf:
    """The access tokens of one user: what a call to Xero is handed (`ledger.books.AccessTokens`)."""

    def __init__(self, tokens: Tokens, xero_user_id: str) -> None:
        self._tokens = tokens
        self._xero_user_id = xero_user_id

    async def access_token(self, *, refused: str | None = None) -> str:
        """A token that should be good; `refused` names one that Xero just refused."""
        return await self._tokens.access_token(self._xero_user_id, refused=refused)
