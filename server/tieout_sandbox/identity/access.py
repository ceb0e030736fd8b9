"""Who calls and whether they may: the 401 and 403 answers of api.xero.com."""

import uuid
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from tieout_sandbox.books.documents import Role
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


_ITSELF = frozenset({"organisation", "organisations"})
_SETTINGS = _ITSELF | {"organisation/actions", "organisations/actions", "users"}


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
    authority: Authority, bearer: Bearer, organisation_id: str | None, scopes: Collection[str], reads: str = ""
) -> Organisation:
    """The organisation that is asked about, if this user connected it, still may, and consented to one of these scopes.

    Args:
        authority: who knows all that.
        bearer: who asks.
        organisation_id: about whom, as the header says.
        scopes: of which one is needed.
        reads: what is read, as a path in lower case (`organisation/actions`); empty for whatever else is asked.

    Raises:
        DeniedError: 403 for an organisation out of reach, 401 for a scope that is missing.
    """
    held = {connection.organisation.id: connection.organisation for connection in authority.connections_of(bearer)}
    organisation = held.get((organisation_id or "").lower())
    if organisation is None or not _is_open(authority, organisation, organisation.role_of(bearer.user_id), reads):
        raise DeniedError(403, "AuthenticationUnsuccessful")
    if not bearer.scopes.intersection(scopes):
        raise DeniedError(401, "AuthorizationUnsuccessful", 'Bearer error="insufficient_scope"')
    return organisation


def _is_open(authority: Authority, organisation: Organisation, role: Role, reads: str) -> bool:
    """Whether an organisation answers a user with this role.

    What a closed one answers, and one to a user who may not connect apps any more, nobody outside Xero knows for sure.
    """
    switches = authority.switches
    if authority.is_gone(organisation) or role is Role.REMOVED:
        return False
    if organisation.is_closed and not (switches.closed_organisations_describe_themselves and reads in _ITSELF):
        return False
    return role in MAY_CONNECT or (switches.downgraded_users_read_settings and reads in _SETTINGS)
