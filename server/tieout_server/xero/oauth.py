"""Xero's identity service (OAuth 2.0 with PKCE): consent, tokens, and the organisations that a user linked to us."""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, cast
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec
from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.client import OAuth2Client
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet, KeySetSerialization
from joserfc.jwt import JWTClaimsRegistry

from tieout_server.clock import Clock
from tieout_server.errors import (
    AccessRevokedError,
    AppRejectedError,
    CallLimitError,
    ConsentExpiredError,
    CredentialsExpiredError,
    RejectedError,
    TieoutError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.ledger.books import Membership, TokenSet
from tieout_server.settings import Settings
from tieout_server.xero.answers import LONGEST_QUOTE, Answer, LimitRefused, TokenRefused, refusal, without_nul
from tieout_server.xero.observed import IDENTITY, observed
from tieout_server.xero.receiving import received

ISSUER = "https://identity.xero.com"
"""What id_tokens name as their issuer, wherever the service is reached (Xero, OAuth 2.0, ID token)."""
LEEWAY = 60
"""Seconds by which Xero's clock and ours may differ."""
APP_ERRORS = frozenset({"invalid_client", "unauthorized_client", "invalid_scope"})
"""Errors of the token endpoint that are about the app, not about the user (Xero, Troubleshooting)."""
_GONE: Mapping[int, type[TieoutError]] = {
    HTTPStatus.NOT_FOUND: RejectedError,
    HTTPStatus.FORBIDDEN: AccessRevokedError,
}
"""What Xero says to the removal of what is not there any more; an edge says the same with a page, and means neither."""


class _Connection(msgspec.Struct, frozen=True):
    """An element of /connections."""

    membership_id: str = msgspec.field(name="id")
    tenant_id: str = msgspec.field(name="tenantId")
    tenant_type: str = msgspec.field(name="tenantType", default="ORGANISATION")
    tenant_name: str | None = msgspec.field(name="tenantName", default=None)
    event_id: str | None = msgspec.field(name="authEventId", default=None)


_CONNECTIONS = msgspec.json.Decoder(list[_Connection])
LARGEST_BODY = 1024 * 1024
"""Bytes of an answer: thousands of organisations."""
LONGEST_LIFE = timedelta(days=1)
"""Of an access token, which lives for 30 minutes (Xero, Token types); what is said beyond it is not believed."""


class _Tokens(msgspec.Struct, frozen=True):
    """What a token response has to have."""

    access_token: Annotated[str, msgspec.Meta(min_length=1)]
    refresh_token: Annotated[str, msgspec.Meta(min_length=1)]
    expires_in: Annotated[int, msgspec.Meta(ge=0)]
    scope: str = ""


class _Claims(msgspec.Struct, frozen=True):
    """What is read of an access token."""

    xero_userid: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    authentication_event_id: str = ""


class _TokenClient(OAuth2Client):  # type: ignore[misc] # Authlib ships no types
    """Authlib's protocol over aiohttp: `fetch_token` and `refresh_token` return what these hooks do, to be awaited."""

    async def _fetch_token(
        self,
        url: str,
        body: str = "",
        headers: Mapping[str, str] | None = None,
        auth: Any = None,  # noqa: ANN401 - Authlib's own, untyped
        method: str = "POST",
    ) -> Mapping[str, Any]:
        url, prepared, body = auth.prepare(method, url, dict(headers or {}), body)
        answer = await _send(self.session, method, url, prepared, body=body)
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise XeroUnavailableError("Xero's identity service is busy.", status=str(answer.status))
        # Authlib's own reading of the answer takes for granted that its members are of the right type.
        try:
            said = _object_in(answer.body)
            wrong = msgspec.convert(said.get("error", ""), str)
        except ValueError as error:  # HTML or a bare string: nothing that the service itself says
            raise XeroUnavailableError(
                "Xero's identity service did not answer properly.", status=str(answer.status)
            ) from error
        if wrong:
            raise OAuth2Error(error=wrong)
        return said

    async def _refresh_token(
        self,
        url: str,
        *,
        refresh_token: str,
        body: str = "",
        headers: Mapping[str, str] | None = None,
        auth: Any = None,  # noqa: ANN401 - Authlib's own, untyped
    ) -> Mapping[str, Any]:
        token = dict(await self._fetch_token(url, body, headers, auth))
        token.setdefault("refresh_token", refresh_token)
        return token


class XeroIdentity:
    """The identity service, asked in the name of one app."""

    def __init__(self, session: aiohttp.ClientSession, settings: Settings, clock: Clock) -> None:
        self.scopes = tuple(settings.xero_scopes.split())
        self._session = session
        self._settings = settings
        self._clock = clock
        self._token_url = settings.xero_identity_url.rstrip("/") + "/connect/token"
        self._revocation_url = settings.xero_identity_url.rstrip("/") + "/connect/revocation"
        self._connections_url = settings.xero_api_url.rstrip("/") + "/connections"
        self._keys_url = settings.xero_identity_url.rstrip("/") + "/.well-known/openid-configuration/jwks"
        self._keys: KeySet | None = None
        # Two clocks that run faster have drifted apart by as many times the seconds between their starts.
        self._leeway = round(LEEWAY * max(1.0, settings.clock_speed))

    def authorization_url(self, *, state: str, code_verifier: str) -> str:
        """Where a person goes to consent."""
        address = self._settings.xero_login_url.rstrip("/") + "/identity/connect/authorize"
        url, _ = self._client().create_authorization_url(
            address, state=state, code_verifier=code_verifier, scope=" ".join(self.scopes)
        )
        return str(url)

    async def exchange(self, *, code: str, code_verifier: str) -> TokenSet:
        """Tokens for an authorisation code, its id_token verified.

        Raises:
            ConsentExpiredError: the code is used, older than 5 minutes, or not ours.
            AppRejectedError: Xero does not accept our client id, secret or scopes.
            XeroUnavailableError: no answer; the code may be tried again.
            UnexpectedAnswerError: the tokens are not what was asked for.
        """
        keys = self._keys or await self._fetch_keys()  # before the code is spent, so that it is not spent for nothing
        asked_at = self._clock.now()
        try:
            token = await self._client().fetch_token(
                self._token_url, grant_type="authorization_code", code=code, code_verifier=code_verifier
            )
        except OAuth2Error as error:
            raise _token_error(error, ConsentExpiredError("The consent has expired or was used before.")) from error
        return _token_set(token, asked_at, await self._verified(str(token.get("id_token", "")), keys))

    async def refresh(self, refresh_token: str) -> TokenSet:
        """New tokens. The old refresh token stays good for 30 minutes, so that a lost answer can be asked for again.

        Raises:
            CredentialsExpiredError: the refresh token is no longer good; a person must consent again.
            AppRejectedError: Xero does not accept our client id or secret.
            XeroUnavailableError: no answer; the token is still good.
        """
        asked_at = self._clock.now()
        try:
            token = await self._client().refresh_token(self._token_url, refresh_token=refresh_token)
        except OAuth2Error as error:
            gone = CredentialsExpiredError("Xero no longer accepts the consent.", error="invalid_grant")
            raise _token_error(error, gone) from error
        return _token_set(token, asked_at, {})

    async def memberships(self, access_token: str, *, authentication_event_id: str = "") -> Sequence[Membership]:
        """The organisations that this user has linked to our app, or those of one consent only.

        Raises:
            AccessRevokedError: the access token is not accepted.
            XeroUnavailableError: no answer.
        """
        parameters = {"authEventId": authentication_event_id} if authentication_event_id else {}
        headers = {"Authorization": f"Bearer {access_token}"}
        answer = await _send(self._session, "GET", self._connections_url, headers, parameters=parameters)
        if not answer.is_good:
            raise _membership_error(answer)
        try:
            rows = _CONNECTIONS.decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise XeroUnavailableError("Xero's list of connections cannot be read.") from error
        return [
            Membership(
                membership_id=row.membership_id,
                xero_tenant_id=row.tenant_id,
                name=row.tenant_name or "",
                authentication_event_id=row.event_id or "",
            )
            for row in rows
            if row.tenant_type == "ORGANISATION"
        ]

    async def disconnect(self, access_token: str, membership_id: str) -> None:
        """Remove one organisation from those linked to our app: what is gone already answers 404, or 403.

        Raises:
            AccessRevokedError: the access token is not accepted.
            CallLimitError: the app's limit refused the call.
            XeroUnavailableError: no answer; it may be tried again.
        """
        headers = {"Authorization": f"Bearer {access_token}"}
        answer = await _send(self._session, "DELETE", f"{self._connections_url}/{membership_id}", headers)
        if answer.status in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}:
            return
        refused, gone = _membership_error(answer), _GONE.get(answer.status)
        if gone is None or not isinstance(refused, gone):
            raise refused

    async def revoke(self, refresh_token: str) -> None:
        """Take back a consent with all that it linked; one that is no longer good is no error (RFC 7009, 2.2).

        Raises:
            AppRejectedError: Xero does not accept our client id or secret.
            XeroUnavailableError: no answer; it may be tried again.
        """
        client = self._client()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        url, headers, body = client.client_auth(client.revocation_endpoint_auth_method).prepare(
            "POST", self._revocation_url, headers, urlencode({"token": refresh_token})
        )
        answer = await _send(self._session, "POST", url, headers, body=body)
        if answer.status != HTTPStatus.OK:
            raise _revocation_error(answer)

    def _client(self) -> Any:  # noqa: ANN401 - Authlib ships no types
        """A client for one exchange: Authlib's keeps the last token, and there are many users.

        It knows no scopes, or it would ask for them at each refresh: those of an older consent may be fewer.
        """
        return _TokenClient(
            self._session,
            client_id=self._settings.xero_client_id,
            client_secret=self._settings.xero_client_secret.get_secret_value(),
            redirect_uri=self._settings.redirect_uri,
            code_challenge_method="S256",
        )

    async def _fetch_keys(self) -> KeySet:
        answer = await _send(self._session, "GET", self._keys_url, {})
        if not answer.is_good:
            raise XeroUnavailableError("Xero's signing keys cannot be had.", status=str(answer.status))
        try:
            self._keys = KeySet.import_key_set(cast("KeySetSerialization", _object_in(answer.body)))
        except Exception as error:  # joserfc takes the shape of keys for granted
            raise XeroUnavailableError("Xero's signing keys cannot be read.") from error
        return self._keys

    async def _verified(self, id_token: str, keys: KeySet) -> Mapping[str, Any]:
        """The claims of an id_token that Xero signed for us, and not long ago."""
        try:
            try:
                token = jwt.decode(id_token, keys, algorithms=["RS256"])
            except (InvalidKeyIdError, ValueError):  # Xero signs with a new key
                token = jwt.decode(id_token, await self._fetch_keys(), algorithms=["RS256"])
            JWTClaimsRegistry(
                now=lambda: int(self._clock.now().timestamp()),
                leeway=self._leeway,
                iss={"essential": True, "value": ISSUER},
                aud={"essential": True, "value": self._settings.xero_client_id},
                sub={"essential": True},
                exp={"essential": True},
            ).validate(token.claims)
        except (JoseError, ValueError) as error:
            raise UnexpectedAnswerError(f"Xero's id_token does not hold: {type(error).__name__}.") from error
        return token.claims


async def _send(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    body: str = "",
    parameters: Mapping[str, str] | None = None,
) -> Answer:
    """One request to the identity service; answers are small and asked for uncompressed."""
    sent = {**headers, "Accept-Encoding": "identity"}
    try:
        with observed(method, urlsplit(url).path, IDENTITY) as call:
            async with session.request(
                method, url, params=parameters, data=body or None, headers=sent, allow_redirects=False
            ) as response:
                answer = await received(response, LARGEST_BODY)
            call.answered(answer)
            return msgspec.structs.replace(answer, body=without_nul(answer.body))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise XeroUnavailableError(f"Xero's identity service did not answer: {type(error).__name__}.") from error


def _token_error(error: OAuth2Error, about_the_grant: TieoutError) -> TieoutError:
    """The token endpoint's error as ours: only `invalid_grant` is about the code or the refresh token."""
    name = str(error.error)[:LONGEST_QUOTE]
    if name == "invalid_grant":
        return about_the_grant
    if name in APP_ERRORS:
        return AppRejectedError("Xero does not accept this app.", error=name)
    return UnexpectedAnswerError(f"Xero's identity service answered {name}.", error=name)


def _membership_error(answer: Answer) -> TieoutError:
    refused = refusal(answer)
    if isinstance(refused, TokenRefused):
        return refused.of_fresh_token
    if isinstance(refused, LimitRefused):
        return CallLimitError("Xero's limit for the app refused the call.", refused.problem.value)
    return refused


def _revocation_error(answer: Answer) -> TieoutError:
    try:
        name = str(_object_in(answer.body)["error"])[:LONGEST_QUOTE]
    except (ValueError, KeyError):  # HTML or a bare string: nothing that the service itself says
        return XeroUnavailableError("Xero's identity service did not answer properly.", status=str(answer.status))
    if name in APP_ERRORS:
        return AppRejectedError("Xero does not accept this app.", error=name)
    return UnexpectedAnswerError(f"Xero's identity service answered {name}.", error=name)


def _token_set(token: Mapping[str, Any], asked_at: datetime, identity: Mapping[str, Any]) -> TokenSet:
    """What a token response gave; who consented stands in the access token, which came from Xero itself over TLS."""
    try:
        tokens = msgspec.convert(token, _Tokens, strict=False)
        claims = _claims_unverified(tokens.access_token)
    except (ValueError, RecursionError) as error:
        # Not chained, and its words only where they are msgspec's: others may quote a token.
        what = str(error) if isinstance(error, msgspec.ValidationError) else type(error).__name__
        raise UnexpectedAnswerError(f"Xero's token response lacks something: {what}.") from None
    return TokenSet(
        xero_user_id=claims.xero_userid,
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        access_expires_at=asked_at + min(timedelta(seconds=min(tokens.expires_in, 10**9)), LONGEST_LIFE),
        scopes=tuple(tokens.scope.split()),
        authentication_event_id=claims.authentication_event_id,
        email=str(identity.get("email", "")),
        name=_name(identity),
    )


def _object_in(body: bytes) -> dict[str, Any]:
    """The JSON object that an answer is.

    Raises:
        ValueError: it is none.
    """
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except RecursionError as error:
        raise ValueError("it is nested more deeply than anybody would") from error


def _claims_unverified(token: str) -> _Claims:
    payload = token.split(".")[1] if token.count(".") == 2 else ""  # noqa: PLR2004 - header.payload.signature
    decoded = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    return msgspec.json.decode(without_nul(decoded), type=_Claims)


def _name(identity: Mapping[str, Any]) -> str:
    given = " ".join(str(identity[part]) for part in ("given_name", "family_name") if identity.get(part))
    return str(identity.get("name") or given)
