"""What is the matter with a connection although it works: found in what is recorded of it, before anybody notices."""

from collections.abc import Collection
from datetime import datetime, timedelta

from tieout_server.connections import reasons, scopes
from tieout_server.connections.administrator import ADMINISTRATORS
from tieout_server.connections.reasons import Case
from tieout_server.connections.tokens import REFRESH_LIFE
from tieout_server.ledger.links import Link, Observation, Reason

EXPIRY_NEAR = timedelta(days=14)
"""Before credentials lapse. They are refreshed weekly: this near means that it has not worked for six weeks."""
BROAD_END_NEAR = timedelta(days=90)
"""How long before broad scopes end merchants are asked to consent anew."""
REMOVED = "REMOVED"
"""Xero's OrganisationRole of somebody who was a user once; noted, too, of who is not listed any more."""


def standing(
    link: Link, asked_scopes: Collection[str], credentials_expire_at: datetime | None, now: datetime
) -> Reason | None:
    """The most urgent warning that stands against this connection, if any does."""
    role = link.authorised_by.organisation_role if link.authorised_by else ""
    if role == REMOVED:
        return reasons.user_removed(_case(link, now, "GET /Users", "the authorising user was not listed"))
    if role and role not in ADMINISTRATORS:
        return reasons.downgraded(_case(link, now, "GET /Users", f"the authorising user had the role {role}"), role)
    if lacking := scopes.lacking(asked_scopes, link.scopes):
        without = ", ".join(capability.scope for capability in lacking)
        return reasons.scope_missing(_case(link, now, "scopes granted", f"without {without}"), lacking)
    if credentials_expire_at and credentials_expire_at - now < EXPIRY_NEAR:
        last = f"worked last on {reasons.day(credentials_expire_at - REFRESH_LIFE)}"
        return reasons.expiring(_case(link, now, "token refresh", last), credentials_expire_at)
    if (broad := scopes.ending(link.scopes)) and scopes.BROAD_END_AT - now < BROAD_END_NEAR:
        return reasons.scopes_end(_case(link, now, "scopes granted", ", ".join(broad)))
    return None


def _case(link: Link, now: datetime, subject: str, finding: str) -> Case:
    return Case(link, now, (Observation(subject, finding, now, is_trouble=True),))
