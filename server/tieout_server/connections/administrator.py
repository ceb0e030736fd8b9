"""Whether the authorising user may do what a connection needs, found out before anything breaks."""

from collections.abc import Sequence

import msgspec

from tieout_server.errors import NotAdministratorError
from tieout_server.ledger.books import Books, Purpose
from tieout_server.ledger.documents import Organisation, OrganisationUser
from tieout_server.ledger.links import AuthorisedBy

ADMINISTRATORS = ("STANDARD", "FINANCIALADVISER")
"""The roles that may connect an app and record payments (Xero, Permissions; Adviser reads FINANCIALADVISER)."""
NEEDED_ACTION = "CreateInvoicePayment"
"""What a payment export will do (Xero, Organisation Actions)."""


async def check_is_administrator(books: Books, user: AuthorisedBy, organisation: Organisation) -> AuthorisedBy:
    """The user with name and role as the organisation states them.

    Raises:
        NotAdministratorError: the role or the permissions are not enough.
    """
    known = find_user(await books.users(Purpose.CONNECT), user)
    allowed = (await books.actions(Purpose.CONNECT)).get(NEEDED_ACTION, True)
    role = known.role if known else ""
    if allowed and (not role or role in ADMINISTRATORS):
        return msgspec.structs.replace(user, name=known.name if known else user.name, organisation_role=role)
    who = user.email or user.xero_user_id
    raise NotAdministratorError(
        f"{who} may not record payments in {organisation.name}. "
        "Please consent as a user with the Standard or Adviser role.",
        role=role,
        action=NEEDED_ACTION,
        allowed=str(allowed).lower(),
    )


def find_user(users: Sequence[OrganisationUser], user: AuthorisedBy) -> OrganisationUser | None:
    """The organisation's own record of this user, by id or, as Xero does not promise equal ids (U12), by e-mail."""
    by_id = (u for u in users if u.xero_user_id == user.xero_user_id)
    by_email = (u for u in users if user.email and u.email.casefold() == user.email.casefold())
    return next(by_id, None) or next(by_email, None)
