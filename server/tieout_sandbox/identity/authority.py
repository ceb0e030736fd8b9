"""Consents, codes, tokens and connections: the state behind login.xero.com and identity.xero.com, without any HTTP."""

import base64
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from tieout_sandbox.clock import SandboxClock
from tieout_sandbox.identity import tokens
from tieout_sandbox.identity.requests import AuthorisationRequest, RefusedRequestError
from tieout_sandbox.organisations import MAY_CONNECT, Organisation, User
from tieout_sandbox.settings import App
from tieout_sandbox.switches import Switches

CODE_LIFE = timedelta(minutes=5)
"""Xero, token types."""
REFRESH_LIFE = timedelta(days=60)
"""If unused; each refresh starts a new one (Xero, token types)."""
REFRESH_GRACE = timedelta(minutes=30)
"""How long a used refresh token still works, counted from its first use (Xero, token types)."""
UNCERTIFIED_APPS = 2
"""How many an organisation may connect (Xero, OAuth 2.0 limits)."""


class OAuthError(Exception):
    """What the token endpoint answers with: the message is its `error`."""


@dataclass(slots=True)
class Grant:
    """One consent of a user to an app; everything that comes of it carries its authentication event."""

    app: App
    user: User
    scopes: tuple[str, ...]
    event_id: str
    session_id: str
    authorised_at: datetime


@dataclass(slots=True)
class Code:
    """An authorisation code: one use, five minutes."""

    grant: Grant
    redirect_uri: str
    challenge: str | None
    issued_at: datetime
    used: bool = False
    nonce: str | None = None
    """Comes back in the id_token that the code is exchanged for (OpenID Connect Core, 3.1.2.1)."""


@dataclass(slots=True)
class RefreshToken:
    """A refresh token: rotates at every use, with a grace for lost answers."""

    grant: Grant
    issued_at: datetime
    used_at: datetime | None = None
    revoked: bool = False

    def is_good(self, now: datetime) -> bool:
        """Whether it can be used (again)."""
        if self.revoked or now >= self.issued_at + REFRESH_LIFE:
            return False
        return self.used_at is None or now < self.used_at + REFRESH_GRACE


@dataclass(slots=True)
class Connection:
    """An organisation that a user connected to an app."""

    id: str
    client_id: str
    user: User
    organisation: Organisation
    event_id: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom an access token speaks for."""

    client_id: str
    user_id: str
    scopes: frozenset[str]
    event_id: str
    expires_at_epoch: int


@dataclass(slots=True)
class Authority:
    """Who is known, what was consented to, which tokens are good."""

    apps: dict[str, App]
    users: dict[str, User]
    organisations: dict[str, Organisation]
    clock: SandboxClock
    switches: Switches = field(default_factory=Switches)
    codes: dict[str, Code] = field(default_factory=dict)
    refresh_tokens: dict[str, RefreshToken] = field(default_factory=dict)
    connections: dict[str, Connection] = field(default_factory=dict)
    consented: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def user_by_email(self, email: str) -> User | None:
        """The user with this address."""
        return next((user for user in self.users.values() if user.email == email), None)

    def organisations_for(self, user: User) -> list[Organisation]:
        """What a user may connect: where the role is Standard or Adviser (Xero, permissions FAQ)."""
        return [found for found in self.organisations.values() if found.role_of(user.id) in MAY_CONNECT]

    def offered_to(self, user: User, app: App) -> list[tuple[Organisation, bool]]:
        """What the consent page offers a user for this app, and whether it is connected already."""
        held = {
            found.organisation.id
            for found in self.connections.values()
            if found.user is user and found.client_id == app.client_id
        }
        offered = [(found, found.id in held) for found in self.organisations_for(user)]
        return [(found, held) for found, held in offered if self.switches.connected_stay_in_picker or not held]

    def can_agree_to_nothing(self, user: User) -> bool:
        """Whether a user may consent anew without choosing: whatever they may connect is not offered again."""
        return not self.switches.connected_stay_in_picker and bool(self.organisations_for(user))

    def consent(
        self,
        app: App,
        user: User,
        organisations: Iterable[Organisation],
        scopes: tuple[str, ...],
        redirect: tuple[str, str | None],
    ) -> str:
        """Connect these organisations and answer with a code.

        Scopes add up over consents; only revoking takes them away (Xero, granular scopes FAQ).

        Args:
            app: who asks.
            user: who allows it.
            organisations: which ones.
            scopes: what was asked for.
            redirect: the redirect address and the PKCE challenge that the code is bound to.

        Raises:
            RefusedRequestError: only one may be chosen, or one has two uncertified apps already; nothing is connected.
        """
        organisations = list(organisations)
        if len(organisations) > 1 and not self.switches.several_organisations_per_consent:
            raise RefusedRequestError("access_denied", "Choose one organisation")
        self._check_uncertified(app, organisations)
        consented = self.consented.setdefault((app.client_id, user.id), set())
        consented.update(scopes)
        now = self.clock.now()
        all_scopes = (*scopes, *sorted(consented.difference(scopes)))
        grant = Grant(app, user, all_scopes, str(uuid.uuid4()), secrets.token_hex(16), now)
        for organisation in organisations:
            self._connect(grant, organisation, now)
        code = secrets.token_urlsafe(32)
        self.codes[code] = Code(grant, redirect[0], redirect[1], now)
        return code

    def agreed(self, asked: AuthorisationRequest, user: User, organisations: Iterable[Organisation]) -> str:
        """Where the browser goes once a user has agreed: back to the app, with a code.

        Raises:
            RefusedRequestError: as `consent` does.
        """
        code = self.consent(asked.app, user, organisations, asked.scopes, (asked.redirect_uri, asked.challenge))
        made = self.codes[code]
        made.nonce = asked.nonce
        return asked.redirect(code=code, scope=" ".join(asked.scopes), session_state=made.grant.session_id)

    def redeem(self, app: App, code: str, redirect_uri: str, verifier: str | None) -> dict[str, Any]:
        """The token response for a code.

        Raises:
            OAuthError: invalid_grant; the code is unknown, used, too old, of another app, or not bound to these values.
        """
        found = self.codes.get(code)
        if found is None or found.used or found.grant.app is not app or found.redirect_uri != redirect_uri:
            raise OAuthError("invalid_grant")
        found.used = True
        if self.clock.now() >= found.issued_at + CODE_LIFE or not _proves(verifier, found.challenge):
            raise OAuthError("invalid_grant")
        return self._token_response(found.grant, found.nonce)

    def refresh(self, app: App, refresh_token: str) -> dict[str, Any]:
        """The token response for a refresh token, which is rotated.

        Raises:
            OAuthError: invalid_grant; it is unknown, revoked, unused for 60 days, or was used more than 30 minutes ago.
        """
        found = self.refresh_tokens.get(refresh_token)
        now = self.clock.now()
        if found is None or found.grant.app is not app or not found.is_good(now):
            raise OAuthError("invalid_grant")
        found.used_at = found.used_at or now
        return self._token_response(found.grant)

    def revoke(self, app: App, refresh_token: str) -> None:
        """End all that this user gave this app: every token and every connection (reported by integrators)."""
        found = self.refresh_tokens.get(refresh_token)
        if found is not None and found.grant.app is app:
            self.revoke_user(found.grant.user.id, app.client_id)

    def revoke_user(self, user_id: str, client_id: str | None = None) -> None:
        """Take a user's consent away, for one app or for all."""
        for token in self.refresh_tokens.values():
            if token.grant.user.id == user_id and client_id in {None, token.grant.app.client_id}:
                token.revoked = True
        for connection in list(self.connections.values()):
            if connection.user.id == user_id and client_id in {None, connection.client_id}:
                del self.connections[connection.id]
        for consented_client, consented_user in list(self.consented):
            if consented_user == user_id and client_id in {None, consented_client}:
                del self.consented[consented_client, consented_user]

    def bearer(self, token: str) -> Bearer | None:
        """Whom a token speaks for, or None if we never signed it; it may have expired."""
        claims = tokens.claims_of(token)
        if claims is None or "client_id" not in claims:
            return None
        return Bearer(
            claims["client_id"],
            claims["xero_userid"],
            frozenset(claims["scope"]),
            claims["authentication_event_id"],
            claims["exp"],
        )

    def connections_of(self, bearer: Bearer, event_id: str | None = None) -> list[Connection]:
        """What this user connected to this app, all of it or what one consent touched."""
        return [
            connection
            for connection in self.connections.values()
            if (connection.client_id, connection.user.id) == (bearer.client_id, bearer.user_id)
            and event_id in {None, connection.event_id}
        ]

    def narrow(self, user_id: str, scopes: Iterable[str]) -> None:
        """Let a user's consents, to every app, be without these scopes from the next refresh on."""
        taken = set(scopes)
        for token in self.refresh_tokens.values():
            if token.grant.user.id == user_id:
                token.grant.scopes = tuple(scope for scope in token.grant.scopes if scope not in taken)
        for (_, consented_user), consented in self.consented.items():
            if consented_user == user_id:
                consented.difference_update(taken)

    def is_gone(self, organisation: Organisation) -> bool:
        """Whether an organisation was deleted, or is what a reset one was before."""
        return self.organisations.get(organisation.id) is not organisation

    def disconnect(self, connection_id: str) -> None:
        """Remove one organisation; tokens stay good for the others."""
        del self.connections[connection_id]

    def delete_organisation(self, organisation: Organisation) -> None:
        """An organisation is gone; what was connected to it answers no more.

        Raises:
            ValueError: it is the last one.
        """
        if len(self.organisations) == 1:
            raise ValueError("The last organisation cannot be deleted.")
        self._let_go(organisation)
        del self.organisations[organisation.id]

    def replace_id(self, organisation: Organisation, new_id: str) -> None:
        """Give an organisation another id, as the reset of a demo company does; what was connected to it is gone."""
        self._let_go(organisation)
        organisation.id = new_id
        kept = list(self.organisations.values())
        self.organisations.clear()
        self.organisations.update({found.id: found for found in kept})

    def _let_go(self, organisation: Organisation) -> None:
        """Connections to an organisation go, or stay with what it was: its id, and nothing that answers."""
        was = replace(organisation)
        for connection in list(self.connections.values()):
            if connection.organisation is organisation:
                if self.switches.gone_organisations_stay_connected:
                    connection.organisation = was
                else:
                    del self.connections[connection.id]

    def _check_uncertified(self, app: App, organisations: list[Organisation]) -> None:
        if app.certified:
            return
        for organisation in organisations:
            held = {c.client_id for c in self.connections.values() if c.organisation is organisation}
            others = {client_id for client_id in held - {app.client_id} if not self.apps[client_id].certified}
            if len(others) >= UNCERTIFIED_APPS:
                sentence = f"{organisation.name} is connected to {UNCERTIFIED_APPS} uncertified apps already"
                raise RefusedRequestError("access_denied", sentence)

    def _connect(self, grant: Grant, organisation: Organisation, now: datetime) -> None:
        for connection in self.connections.values():
            held = (connection.client_id, connection.user, connection.organisation)
            if held == (grant.app.client_id, grant.user, organisation):
                connection.event_id, connection.updated_at = grant.event_id, now
                return
        made = Connection(str(uuid.uuid4()), grant.app.client_id, grant.user, organisation, grant.event_id, now, now)
        self.connections[made.id] = made

    def _token_response(self, grant: Grant, nonce: str | None = None) -> dict[str, Any]:
        """The token endpoint's answer, in Xero's key order."""
        access_token = tokens.sign(self._access_claims(grant))
        response: dict[str, Any] = {}
        if "openid" in grant.scopes:
            claims = self._id_claims(grant, access_token) | ({"nonce": nonce} if nonce else {})
            response["id_token"] = tokens.sign(claims)
        response |= {
            "access_token": access_token,
            "expires_in": int(tokens.ACCESS_TOKEN_LIFE.total_seconds()),
            "token_type": "Bearer",
        }
        if "offline_access" in grant.scopes:
            refresh_token = secrets.token_urlsafe(32)
            self.refresh_tokens[refresh_token] = RefreshToken(grant, self.clock.now())
            response["refresh_token"] = refresh_token
        return response | {"scope": " ".join(grant.scopes)}

    def _access_claims(self, grant: Grant) -> dict[str, Any]:
        now = self.clock.now()
        return {
            "nbf": tokens.epoch(now),
            "exp": tokens.epoch(now + tokens.ACCESS_TOKEN_LIFE),
            "iss": tokens.ISSUER,
            "aud": tokens.AUDIENCE,
            "client_id": grant.app.client_id,
            "sub": _subject(grant.user),
            "auth_time": tokens.epoch(grant.authorised_at),
            "xero_userid": grant.user.id,
            "global_session_id": grant.session_id,
            "sid": grant.session_id,
            "jti": secrets.token_hex(16).upper(),
            "authentication_event_id": grant.event_id,
            "scope": list(grant.scopes),
            "amr": ["pwd"],
        }

    def _id_claims(self, grant: Grant, access_token: str) -> dict[str, Any]:
        """The id_token's claims; which ones beyond sub, email and xero_userid is our guess (fact sheet U21)."""
        now = self.clock.now()
        claims: dict[str, Any] = {
            "nbf": tokens.epoch(now),
            "exp": tokens.epoch(now + tokens.ID_TOKEN_LIFE),
            "iss": tokens.ISSUER,
            "aud": grant.app.client_id,
            "iat": tokens.epoch(now),
            "at_hash": tokens.at_hash(access_token),
            "sub": _subject(grant.user),
            "auth_time": tokens.epoch(grant.authorised_at),
            "xero_userid": grant.user.id,
            "global_session_id": grant.session_id,
            "sid": grant.session_id,
        }
        if "profile" in grant.scopes and self.switches.id_token_has_names:
            claims |= {
                "preferred_username": grant.user.email,
                "given_name": grant.user.first_name,
                "family_name": grant.user.last_name,
                "name": grant.user.name,
            }
        return claims | ({"email": grant.user.email} if "email" in grant.scopes else {})


def _subject(user: User) -> str:
    """The `sub` claim: like at Xero, not the user id itself."""
    return hashlib.sha256(user.id.encode()).hexdigest()[:32]


def _proves(verifier: str | None, challenge: str | None) -> bool:
    """Whether a PKCE verifier belongs to a challenge by S256 (RFC 7636); without a challenge there must be none."""
    if challenge is None:
        return verifier is None
    if verifier is None:
        return False
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    return hmac.compare_digest(digest, challenge)
