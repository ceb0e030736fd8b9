"""Who calls and whether they may: the 401 and 403 answers of api.xero.com."""

import uuid
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from tieout_sandbox.identity.authority import Authority, Bearer
from tieout_sandbox.organisations import MAY_CONNECT, Organisation
from tieout_sandbox.switches import Switches


class DeniedError(Exception):
    """A call that is refused before anything is read.

    Args:
        status: 401 or 403.
        detail: Xero's word for it.
        challenge: the WWW-Authenticate header, where there is one.
    """

    def __init__(self, status: int, detail: str, challenge: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.challenge = challenge

    def response(self, switches: Switches) -> web.Response:
        """The answer: a problem body in PascalCase, as recorded from Xero, unless switched."""
        title = {401: "Unauthorized", 403: "Forbidden"}[self.status]
        body: dict[str, Any] = {
            "Type": None,
            "Title": title,
            "Status": self.status,
            "Detail": self.detail,
            "Instance": str(uuid.uuid4()),
            "Extensions": {},
        }
        if switches.problem_keys_lower_case:
            body = {key.lower(): value for key, value in body.items()}
        headers = {"WWW-Authenticate": self.challenge} if self.challenge else {}
        return web.Response(
            status=self.status, body=msgspec.json.encode(body), content_type="application/json", headers=headers
        )


def authenticate(authority: Authority, header: str | None) -> Bearer:
    """Whom the Authorization header speaks for.

    Raises:
        DeniedError: 401; nothing there, not a token of ours, or expired.
    """
    scheme, _, token = (header or "").partition(" ")
    bearer = authority.bearer(token) if scheme.lower() == "bearer" else None
    if bearer is None:
        raise DeniedError(401, "AuthenticationUnsuccessful")
    if authority.clock.now().timestamp() >= bearer.expires_at_epoch:
        expired_at = datetime.fromtimestamp(bearer.expires_at_epoch, UTC)
        sentence = f"token expired at {expired_at:%m/%d/%Y %H:%M:%S}"
        challenge = f'Bearer error="invalid_token", error_description="The {sentence}"'
        raise DeniedError(401, f"TokenExpired: {sentence}", challenge)
    return bearer


def authorise(
    authority: Authority, bearer: Bearer, organisation_id: str | None, scopes: Collection[str]
) -> Organisation:
    """The organisation that is asked about, if this user connected it, still may, and consented to one of these scopes.

    Raises:
        DeniedError: 403 for an organisation out of reach, 401 for a scope that is missing.
    """
    held = {connection.organisation.id: connection.organisation for connection in authority.connections_of(bearer)}
    organisation = held.get((organisation_id or "").lower())
    if organisation is None or organisation.role_of(bearer.user_id) not in MAY_CONNECT:
        raise DeniedError(403, "AuthenticationUnsuccessful")
    if not bearer.scopes.intersection(scopes):
        raise DeniedError(401, "AuthorizationUnsuccessful", 'Bearer error="insufficient_scope"')
    return organisation
