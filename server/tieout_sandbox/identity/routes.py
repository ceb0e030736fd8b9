"""The HTTP side of identity: authorise, token, revocation, discovery and connections."""

import base64
import binascii
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from aiohttp import web

from tieout_sandbox.identity import tokens
from tieout_sandbox.identity.access import DeniedError, authenticate
from tieout_sandbox.identity.authority import Authority, Connection, OAuthError
from tieout_sandbox.identity.pages import consent_page, error_page
from tieout_sandbox.identity.requests import (
    PARAMETERS,
    AuthorisationRequest,
    RefusedRequestError,
    read_authorisation,
)
from tieout_sandbox.identity.scopes import SCOPES_IN_WORDS
from tieout_sandbox.organisations import User
from tieout_sandbox.settings import App
from tieout_sandbox.switches import Switches

_LOGIN_ORIGIN = "https://login.xero.com"
"""Where Xero has its consent page (Xero, OAuth 2.0 authorisation flow)."""
_NO_STORE = {"Cache-Control": "max-age=0, no-cache, no-store", "Pragma": "no-cache"}


class IdentityRoutes:
    """What login.xero.com and identity.xero.com answer, and `/connections` of api.xero.com."""

    def __init__(self, authority: Authority, switches: Switches) -> None:
        self._authority = authority
        self._switches = switches

    def add_to(self, app: web.Application) -> None:
        """Register every path."""
        app.router.add_get("/identity/connect/authorize", self.show_consent, allow_head=False)
        app.router.add_post("/identity/connect/authorize", self.decide)
        app.router.add_post("/connect/token", self.token)
        app.router.add_post("/connect/revocation", self.revoke)
        app.router.add_get("/.well-known/openid-configuration", self.discovery)
        app.router.add_get("/.well-known/openid-configuration/jwks", self.keys)
        app.router.add_get("/{connections:(?i:connections)}", self.list_connections)
        app.router.add_delete("/{connections:(?i:connections)}/{id}", self.disconnect)

    # The browser

    async def show_consent(self, request: web.Request) -> web.Response:
        """The consent page."""
        params = {name: request.query[name] for name in PARAMETERS if name in request.query}
        try:
            asked = read_authorisation(params, self._authority)
        except RefusedRequestError as refused:
            return _html(error_page(refused), 400)
        return _html(self._page(asked, params, self._user(request.query.get("user"))))

    def _page(self, asked: AuthorisationRequest, params: Mapping[str, str], user: User, problem: str = "") -> str:
        """The consent page for this user; with a problem, once more."""
        choices = self._authority.offered_to(user, asked.app)
        organisations = self._authority.organisations.values()
        others = [
            (other, list(dict.fromkeys(found.role_of(other.id) for found in organisations)))
            for other in self._authority.users.values()
            if other is not user
        ]
        several = self._switches.several_organisations_per_consent
        may_agree = bool(choices) or self._authority.can_agree_to_nothing(user)
        return consent_page(asked, params, user, others, choices, several=several, may_agree=may_agree, problem=problem)

    async def decide(self, request: web.Request) -> web.Response:
        """What the user decided: back to the app with a code, or with access_denied; what cannot be is asked again."""
        form = await request.post()
        params = {name: str(form[name]) for name in PARAMETERS if name in form}
        try:
            asked = read_authorisation(params, self._authority)
        except RefusedRequestError as refused:
            return _html(error_page(refused), 400)
        user, chosen = self._user(str(form.get("user", ""))), [str(one) for one in form.getall("organisation", [])]
        try:
            location = self._decided(asked, user, chosen, allowed=form.get("decision") == "allow")
        except RefusedRequestError as refused:
            return _html(self._page(asked, params, user, refused.explanation), 400)
        return web.Response(status=302, headers={"Location": location})

    def _decided(self, asked: AuthorisationRequest, user: User, chosen: list[str], *, allowed: bool) -> str:
        if not allowed:
            return asked.redirect(error="access_denied")
        choices = {found.id: found for found, _ in self._authority.offered_to(user, asked.app)}
        is_empty = not chosen and not self._authority.can_agree_to_nothing(user)
        if is_empty or not choices.keys() >= set(chosen):
            raise RefusedRequestError("access_denied", "Choose an organisation that you may connect")
        return self._authority.agreed(asked, user, [choices[organisation_id] for organisation_id in chosen])

    def _user(self, email: str | None) -> User:
        """Who is signed in: whoever is named, else the first one."""
        found = self._authority.user_by_email(email) if email else None
        if email and found is None:
            raise web.HTTPBadRequest(text=f"There is no user {email}.")
        return found or next(iter(self._authority.users.values()))

    # The app

    async def token(self, request: web.Request) -> web.Response:
        """The token endpoint: both grants, Basic or body credentials; errors as IdentityServer words them."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        try:
            app = self._client(request, form)
            answer = self._granted(app, form)
        except OAuthError as error:
            return self._oauth_error(error)
        return _json(answer)

    def _granted(self, app: App, form: Mapping[str, str]) -> dict[str, Any]:
        match form.get("grant_type"):
            case "authorization_code":
                if not form.get("code") or not form.get("redirect_uri"):
                    raise OAuthError("invalid_request")
                return self._authority.redeem(app, form["code"], form["redirect_uri"], form.get("code_verifier"))
            case "refresh_token":
                if not form.get("refresh_token"):
                    raise OAuthError("invalid_request")
                return self._authority.refresh(app, form["refresh_token"])
            case None:
                raise OAuthError("invalid_request")
            case _:
                raise OAuthError("unsupported_grant_type")

    async def revoke(self, request: web.Request) -> web.Response:
        """Revocation: 200 and nothing, also for a token that nobody knows (RFC 7009)."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        try:
            self._authority.revoke(self._client(request, form), form.get("token", ""))
        except OAuthError as error:
            return self._oauth_error(error)
        return web.Response(headers=_NO_STORE)

    def _oauth_error(self, error: OAuthError) -> web.Response:
        status = self._switches.invalid_client_status if str(error) == "invalid_client" else 400
        return _json({"error": str(error)}, status)

    def _client(self, request: web.Request, form: Mapping[str, str]) -> App:
        """The app that calls, proven by its secret; an app without one has only to name itself.

        Raises:
            OAuthError: invalid_client.
        """
        client_id, secret = _basic(request.headers.get("Authorization")) or (
            form.get("client_id", ""),
            form.get("client_secret"),
        )
        app = self._authority.apps.get(client_id)
        if app is None:
            raise OAuthError("invalid_client")
        if app.client_secret is not None and not hmac.compare_digest(
            (secret or "").encode(), app.client_secret.encode()
        ):
            raise OAuthError("invalid_client")
        return app

    async def discovery(self, request: web.Request) -> web.Response:
        """OpenID Connect discovery; the issuer is Xero's because tokens carry it.

        Endpoints are here, unless the caller came by Xero's own name, through a proxy: then they have Xero's names too.
        """
        named = request.url.host == urlsplit(tokens.ISSUER).hostname
        origin = tokens.ISSUER if named else str(request.url.origin())
        login = _LOGIN_ORIGIN if named else origin
        return _json(
            {
                "issuer": tokens.ISSUER,
                "jwks_uri": f"{origin}/.well-known/openid-configuration/jwks",
                "authorization_endpoint": f"{login}/identity/connect/authorize",
                "token_endpoint": f"{origin}/connect/token",
                "revocation_endpoint": f"{origin}/connect/revocation",
                "scopes_supported": list(SCOPES_IN_WORDS),
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "response_types_supported": ["code"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "subject_types_supported": ["public"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def keys(self, _request: web.Request) -> web.Response:
        """The keys that tokens are signed with."""
        return _json(tokens.key_set())

    # Connections

    async def list_connections(self, request: web.Request) -> web.Response:
        """Everything this user connected to this app, as a bare array."""
        try:
            bearer = authenticate(self._authority, request.headers.get("Authorization"))
        except DeniedError as denied:
            return denied.response(self._switches)
        found = self._authority.connections_of(bearer, request.query.get("authEventId"))
        return _json([self._connection(held) for held in found])

    async def disconnect(self, request: web.Request) -> web.Response:
        """Remove one connection: 204, or 404 when it is not (any more) this user's."""
        try:
            bearer = authenticate(self._authority, request.headers.get("Authorization"))
        except DeniedError as denied:
            return denied.response(self._switches)
        if request.match_info["id"] not in {held.id for held in self._authority.connections_of(bearer)}:
            if self._switches.removed_connection_answers_403:
                return DeniedError(403, "AuthenticationUnsuccessful").response(self._switches)
            return web.Response(status=404)
        self._authority.disconnect(request.match_info["id"])
        return web.Response(status=204)

    def _connection(self, held: Connection) -> dict[str, str | None]:
        """One element of /connections; an organisation that is gone has no name any more."""
        return {
            "id": held.id,
            "authEventId": held.event_id,
            "tenantId": held.organisation.id,
            "tenantType": "ORGANISATION",
            "tenantName": None if self._authority.is_gone(held.organisation) else held.organisation.name,
            "createdDateUtc": _seven_digits(held.created_at),
            "updatedDateUtc": _seven_digits(held.updated_at),
        }


def _seven_digits(at: datetime) -> str:
    """An instant with seven digits of a second and no Z, as .NET writes it."""
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}0"


def _basic(header: str | None) -> tuple[str, str] | None:
    """Client id and secret out of Basic credentials."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ("", "")
    return unquote(client_id), unquote(secret)


def _json(value: object, status: int = 200) -> web.Response:
    """Compact JSON, as identity and /connections write it."""
    return web.Response(
        status=status,
        body=msgspec.json.encode(value),
        headers=_NO_STORE,
        content_type="application/json",
        charset="UTF-8",
    )


def _html(page: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=page, content_type="text/html", headers=_NO_STORE)
