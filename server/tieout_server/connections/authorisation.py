"""Consent: sending a person to Xero and taking them back, once.

The state is random, used once and kept only as a hash; PKCE ties the code to us. Whoever brings a state that is
unknown, used or expired changes nothing.
"""

import hashlib
import secrets
from datetime import datetime, timedelta

import msgspec

from tieout_server.clock import Clock
from tieout_server.errors import ConsentStateError
from tieout_server.ledger.books import Identity
from tieout_server.ledger.links import Granted
from tieout_server.storage import connections
from tieout_server.storage.connections import Authorisation
from tieout_server.storage.database import Transaction
from tieout_server.storage.vault import Vault

CONSENT_LIFE = timedelta(minutes=30)
"""How long a person may take at Xero, logging in included. The code that Xero then gives lives 5 minutes."""


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
        await connections.withdraw_authorisations(tx, connection_id)
        state, code_verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(64)
        now = self._clock.now()
        state_hash = _hash(state)
        await connections.start_authorisation(
            tx,
            Authorisation(
                state_hash=state_hash,
                connection_id=connection_id,
                code_verifier=self._vault.seal(code_verifier, context=f"authorisation/{state_hash}"),
                return_url=return_url,
                expires_at=now + CONSENT_LIFE,
                created_at=now,
            ),
        )
        url = self._identity.authorization_url(state=state, code_verifier=code_verifier)
        return Consent(url, now + CONSENT_LIFE)

    async def redeem(self, tx: Transaction, state: str) -> Returned:
        """Take this state, which is then used.

        Raises:
            ConsentStateError: it is unknown, used before, or expired.
        """
        found = await connections.find_authorisation(tx, _hash(state))
        if found is None:
            raise ConsentStateError("This link does not belong to a consent that was started here.", fault="unknown")
        facts = {"connection_id": found.connection_id, "return_url": found.return_url}
        if found.used_at is not None:
            raise ConsentStateError("This link was used before. Each consent needs a new one.", fault="used", **facts)
        now = self._clock.now()
        if now >= found.expires_at:
            raise ConsentStateError("This link has expired. Please start again.", fault="expired", **facts)
        await connections.mark_authorisation(tx, found.state_hash, now)
        verifier = self._vault.open(found.code_verifier, context=f"authorisation/{found.state_hash}")
        return Returned(found.connection_id, found.state_hash, found.return_url, verifier, found.granted)

    async def give_back(self, tx: Transaction, returned: Returned) -> None:
        """Let the state be used again: Xero did not answer, and what it gave so far is still good."""
        await connections.mark_authorisation(tx, returned.state_hash, None)


def _hash(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()
