"""Consent: sending a person to Xero and taking them back, once.

The state is random, used once and kept only as a hash; PKCE ties the code to us. Whoever brings a state that is
unknown, used or expired changes nothing. Who has a state in hand holds off others who bring the same.
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from tieout_server.clock import Clock
from tieout_server.errors import ConsentStateError
from tieout_server.ledger.books import Identity
from tieout_server.ledger.links import Granted
from tieout_server.storage import connections, leavings
from tieout_server.storage.connections import Authorisation
from tieout_server.storage.database import Transaction
from tieout_server.storage.leavings import Leaving
from tieout_server.storage.sealed import code_verifier_of
from tieout_server.storage.vault import Vault

CONSENT_LIFE = timedelta(minutes=30)
"""How long a person may take at Xero, logging in included. The code that Xero then gives lives 5 minutes."""

IN_HAND = timedelta(minutes=2)
"""How long one process may take to settle a consent that came back, before another one that brings it may go on."""

UNKNOWN_STATE = "This link does not belong to a consent that was started here."


class Consent(msgspec.Struct, frozen=True):
    """Where a person goes to consent, and until when."""

    authorization_url: str
    """Holds the state, which is a secret."""
    expires_at: datetime

    def __repr__(self) -> str:
        """Not the address: whoever knows the state can come back in the person's place."""
        return f"Consent(expires_at={self.expires_at!r})"


class Returned(msgspec.Struct, frozen=True):
    """A person who came back from Xero: for which connection, and where they want to go next."""

    connection_id: str
    state_hash: str
    return_url: str
    code_verifier: str
    settled_by: datetime
    """When whatever it linked at Xero is removed there, if nothing became of it."""
    granted: Granted | None = None

    def __repr__(self) -> str:
        """Not the code_verifier: it is a secret."""
        return f"Returned(connection_id={self.connection_id!r}, return_url={self.return_url!r})"


class Authorisations:
    """The consents under way."""

    def __init__(self, vault: Vault, identity: Identity, clock: Clock) -> None:
        self._vault = vault
        self._identity = identity
        self._clock = clock

    async def begin(self, tx: Transaction, connection_id: str, return_url: str) -> Consent:
        """Open a way to consent for this connection. A way that was opened earlier and not used is closed."""
        await self.withdraw(tx, connection_id, in_hand=False)
        state, code_verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(64)
        now = self._clock.now()
        state_hash = hash_of(state)
        await connections.start_authorisation(
            tx,
            Authorisation(
                state_hash=state_hash,
                connection_id=connection_id,
                code_verifier=self._vault.seal(code_verifier, context=code_verifier_of(state_hash)),
                return_url=return_url,
                expires_at=now + CONSENT_LIFE,
                created_at=now,
            ),
        )
        url = self._identity.authorization_url(state=state, code_verifier=code_verifier)
        return Consent(url, now + CONSENT_LIFE)

    async def redeem(self, tx: Transaction, state: str) -> Returned | None:
        """Take this state, which is then used; None while somebody else has it in hand, who may give it back.

        Raises:
            ConsentStateError: it is unknown, used before, or expired.
        """
        found = await connections.find_authorisation(tx, hash_of(state))
        if found is None:
            raise ConsentStateError(UNKNOWN_STATE, fault="unknown")
        facts = {"connection_id": found.connection_id, "return_url": found.return_url}
        if found.ended_at is not None:
            raise ConsentStateError("This link was used before. Each consent needs a new one.", fault="used", **facts)
        now = self._clock.now()
        if found.used_at is not None and now < found.used_at + IN_HAND:
            return None
        if now >= found.expires_at:
            raise ConsentStateError("This link has expired. Please start again.", fault="expired", **facts)
        await connections.mark_authorisation(tx, found.state_hash, now)
        verifier = self._vault.open(found.code_verifier, context=code_verifier_of(found.state_hash))
        return Returned(
            found.connection_id,
            found.state_hash,
            found.return_url,
            verifier,
            found.expires_at + IN_HAND,
            found.granted,
        )

    async def give_back(self, tx: Transaction, returned: Returned) -> None:
        """Let the state be used again: nothing was decided, and what Xero gave so far is still good."""
        await connections.mark_authorisation(tx, returned.state_hash, None)

    async def withdraw(self, tx: Transaction, connection_id: str, *, in_hand: bool) -> None:
        """Close the ways to consent; what they linked is to be removed at Xero.

        One that somebody has in hand is closed with `in_hand` only: it comes too late then, and may not be tried again.
        """
        granted = await connections.withdraw_authorisations(tx, connection_id, in_hand=in_hand)
        await self._leave_behind(tx, connection_id, granted)

    async def abandon(self, tx: Transaction, connection_id: str) -> None:
        """Give up the consents that were given and never settled, once nobody can come back with them."""
        granted = await connections.abandon_authorisations(tx, connection_id, self._clock.now() - IN_HAND)
        await self._leave_behind(tx, connection_id, granted)

    async def open_until(self, tx: Transaction, connection_id: str) -> datetime | None:
        """Until when a consent for this connection may still be settled; None if none can."""
        return await connections.consent_open_until(tx, connection_id, self._clock.now(), in_hand=IN_HAND)

    async def _leave_behind(self, tx: Transaction, connection_id: str, granted: Sequence[Granted]) -> None:
        left = [given_by(consent) for consent in granted]
        await leavings.add(tx, connection_id, left, self._clock.now())


def given_by(granted: Granted) -> Leaving:
    """What this consent linked, to be removed at Xero."""
    return Leaving(xero_user_id=granted.user.xero_user_id, event_id=granted.authentication_event_id)


def hash_of(state: str) -> str:
    """What is kept of a state."""
    return hashlib.sha256(state.encode()).hexdigest()
