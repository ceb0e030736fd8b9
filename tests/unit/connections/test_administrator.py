"""Who may connect: what /Users and /Organisation/Actions say of the user who consented."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from fakes import BooksOf, SettableClock, Xero
from tieout_server.connections.administrator import check_is_administrator
from tieout_server.errors import NotAdministratorError
from tieout_server.ledger.books import Purpose
from tieout_server.ledger.documents import Organisation
from tieout_server.ledger.links import AuthorisedBy

HOPS = Organisation(xero_tenant_id="t", name="Southern Hops Ltd", base_currency="NZD")
RUTH = AuthorisedBy(xero_user_id="user-1", email="ruth@southern-hops.example")


@dataclass
class BooksWithActions(BooksOf):
    """Books that state what the user may do."""

    stated: Mapping[str, bool]

    async def actions(self, purpose: Purpose) -> Mapping[str, bool]:  # noqa: ARG002 - a fake need not look
        return self.stated


def books(role: str, *, may_pay: bool | None = None) -> BooksWithActions:
    xero = Xero(SettableClock(), role=role)
    return BooksWithActions(xero, "t", {} if may_pay is None else {"CreateInvoicePayment": may_pay})


@pytest.mark.parametrize("role", ["STANDARD", "FINANCIALADVISER"])
async def test_standard_users_and_advisers_may_connect_and_are_named(role: str) -> None:
    user = await check_is_administrator(books(role), RUTH, HOPS)
    assert (user.name, user.organisation_role) == ("Ruth Ngata", role)


@pytest.mark.parametrize("role", ["READONLY", "INVOICEONLY", "REMOVED", "MANAGEDCLIENT", "UNKNOWN"])
async def test_other_roles_may_not_and_are_told_which_would(role: str) -> None:
    with pytest.raises(NotAdministratorError) as refusal:
        await check_is_administrator(books(role), RUTH, HOPS)
    assert RUTH.email in refusal.value.sentence
    assert "Standard or Adviser" in refusal.value.sentence
    assert refusal.value.facts["role"] == role


async def test_a_role_that_would_do_does_not_where_the_action_is_denied() -> None:
    with pytest.raises(NotAdministratorError) as refusal:
        await check_is_administrator(books("STANDARD", may_pay=False), RUTH, HOPS)
    assert refusal.value.facts["allowed"] == "false"


async def test_a_user_is_known_by_email_where_the_ids_differ() -> None:
    other_id = AuthorisedBy(xero_user_id="another", email=RUTH.email.upper())
    assert (await check_is_administrator(books("STANDARD"), other_id, HOPS)).organisation_role == "STANDARD"


async def test_somebody_whom_the_organisation_does_not_list_is_judged_by_what_they_may_do() -> None:
    stranger = AuthorisedBy(xero_user_id="another", email="somebody@else.example")
    assert (await check_is_administrator(books("READONLY", may_pay=True), stranger, HOPS)).organisation_role == ""
    with pytest.raises(NotAdministratorError):
        await check_is_administrator(books("READONLY", may_pay=False), stranger, HOPS)
