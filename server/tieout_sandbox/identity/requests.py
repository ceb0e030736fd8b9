"""What an app asks for at the authorise endpoint, and whether it may."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from tieout_sandbox.identity.scopes import BROAD_SCOPES, SCOPES_IN_WORDS

if TYPE_CHECKING:  # the authority raises what is defined here; only its type goes round in a circle
    from collections.abc import Mapping

    from tieout_sandbox.identity.authority import Authority
    from tieout_sandbox.settings import App

PARAMETERS = (
    "response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
)  # fmt: skip
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


class RefusedRequestError(Exception):
    """The request cannot even be shown to the user: Xero answers with an error page, not with a redirect.

    Args:
        error: the OAuth error code.
        explanation: what is wrong, for a person.
    """

    def __init__(self, error: str, explanation: str) -> None:
        super().__init__(f"{error}: {explanation}")
        self.error = error
        self.explanation = explanation


@dataclass(frozen=True, slots=True)
class AuthorisationRequest:
    """A request that may be put before the user."""

    app: App
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str | None
    challenge: str | None
    nonce: str | None = None

    def redirect(self, **params: str) -> str:
        """The address that the browser goes back to."""
        given = {name: value for name, value in params.items() if value}
        if self.state is not None:
            given["state"] = self.state
        return f"{self.redirect_uri}{'&' if '?' in self.redirect_uri else '?'}{urlencode(given)}"


def read_authorisation(params: Mapping[str, str], authority: Authority) -> AuthorisationRequest:
    """Read and check an authorisation request, by the apps that are registered, and today's rules.

    Raises:
        RefusedRequestError: it is not one that Xero would show to a user.
    """
    app = authority.apps.get(params.get("client_id", ""))
    if app is None:
        raise RefusedRequestError("unauthorized_client", "Unknown client or client not enabled")
    redirect_uri = params.get("redirect_uri", "")
    if not app.accepts(redirect_uri):
        raise RefusedRequestError("unauthorized_client", "Invalid redirect_uri")
    if params.get("response_type") != "code":
        raise RefusedRequestError("unsupported_response_type", "Only response_type=code is supported")
    scopes = tuple(dict.fromkeys(params.get("scope", "").split()))
    _check_scopes(app, scopes, authority)
    challenge = params.get("code_challenge")
    if challenge is not None and app.client_secret is not None and not authority.switches.web_apps_may_use_pkce:
        raise RefusedRequestError("invalid_request", "A web app may not use PKCE")
    _check_challenge(app, challenge, params.get("code_challenge_method"))
    return AuthorisationRequest(app, redirect_uri, scopes, params.get("state"), challenge, params.get("nonce"))


def _check_scopes(app: App, scopes: tuple[str, ...], authority: Authority) -> None:
    unknown = [scope for scope in scopes if scope not in SCOPES_IN_WORDS]
    if not scopes or unknown:
        raise RefusedRequestError("invalid_scope", f"Invalid scope: {' '.join(unknown) or 'none given'}")
    ended = authority.clock.today() >= authority.switches.broad_scopes_end_on
    if (ended or not app.broad_scopes) and BROAD_SCOPES.intersection(scopes):
        raise RefusedRequestError("unauthorized_client", "Invalid scope for client")


def _check_challenge(app: App, challenge: str | None, method: str | None) -> None:
    if challenge is None:
        if app.client_secret is None:
            raise RefusedRequestError("invalid_request", "code challenge required")
        return
    if method != "S256":
        raise RefusedRequestError("invalid_request", "Transform algorithm not supported")
    if not _CHALLENGE.fullmatch(challenge):
        raise RefusedRequestError("invalid_request", "Invalid code_challenge")
