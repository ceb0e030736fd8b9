"""What a request must be before anything is done with it: one table of rules, every violation told at once."""

from collections.abc import Mapping

from google.protobuf.message import Message

from tieout.v1 import connection_service_pb2 as connection
from tieout.v1 import receivables_service_pb2 as receivables
from tieout.v1 import sync_service_pb2 as sync
from tieout_server.errors import InvalidRequestError, Violation
from tieout_server.rpc import validate_exports, validate_reconciliations
from tieout_server.rpc.parsing import Garbled
from tieout_server.rpc.rules import (
    CONNECTION,
    ID,
    OF_CUSTOMER,
    PAGED,
    REPEATABLE,
    SEARCH,
    TOKEN,
    Rule,
    a_date,
    all_known,
    currency,
    instant,
    known,
    listed,
    needed,
    not_both,
    one_of,
    stated,
    text,
    texts,
)

MERCHANT_ID = 200
URL = 2000
SECRET = 4000
"""Characters that what Xero appends to the redirect address may have at most."""
CONTACT = 255
"""Characters that a contact's name or email address may have at most (Xero, Contacts)."""
NOTE = 1000
WATCHED = 1000
"""Connections that one watch may name."""


def check(request: Message | Garbled) -> None:
    """Check that the request is sound; a message that is not of this API is left alone.

    Raises:
        InvalidRequestError: it is not; all that is wrong is named.
    """
    if isinstance(request, Garbled):
        raise InvalidRequestError(Violation("request", "is no message of this method: its bytes cannot be parsed"))
    violations = [violation for rule in RULES.get(type(request), ()) for violation in rule(request)]
    if violations:
        raise InvalidRequestError(*violations)


_UPDATED_AFTER = instant("updated_after")

RULES: Mapping[type[Message], tuple[Rule, ...]] = {
    connection.ConnectRequest: (needed("merchant_id", MERCHANT_ID), text("return_url", URL), REPEATABLE),
    connection.ReconnectRequest: (CONNECTION, text("return_url", URL), REPEATABLE),
    connection.CompleteAuthorizationRequest: (
        needed("state", SECRET),
        one_of("code", "error"),
        text("code", SECRET),
        text("error", SECRET),
        REPEATABLE,
    ),
    connection.ChooseOrganisationRequest: (CONNECTION, needed("xero_tenant_id"), REPEATABLE),
    connection.GetConnectionRequest: (CONNECTION,),
    connection.ListConnectionsRequest: (text("merchant_id", MERCHANT_ID), all_known("states"), *PAGED),
    connection.DisconnectRequest: (CONNECTION, REPEATABLE),
    connection.PurgeMerchantRequest: (needed("merchant_id", MERCHANT_ID), REPEATABLE),
    connection.EraseCustomerRequest: (CONNECTION, needed("customer_id"), REPEATABLE),
    connection.PruneExpiredRequest: (REPEATABLE,),
    connection.CheckConnectionRequest: (CONNECTION,),
    connection.ListConnectionEventsRequest: (CONNECTION, *PAGED),
    connection.WatchConnectionsRequest: (
        text("merchant_id", MERCHANT_ID),
        texts("connection_ids", WATCHED),
        not_both("connection_ids", "merchant_id"),
        text("after", TOKEN),
        not_both("after", "from_start"),
    ),
    connection.ListAuditEventsRequest: (
        text("connection_id", ID),
        text("merchant_id", MERCHANT_ID),
        text("caller", MERCHANT_ID),
        instant("since"),
        instant("until"),
        *PAGED,
    ),
    sync.StartSyncRequest: (CONNECTION, known("mode"), all_known("entities"), REPEATABLE),
    sync.GetSyncRequest: (needed("sync_id"),),
    sync.ListSyncsRequest: (CONNECTION, all_known("states"), *PAGED),
    sync.CancelSyncRequest: (needed("sync_id"), REPEATABLE),
    sync.ResolveHeldSyncRequest: (needed("sync_id"), stated("decision"), text("note", NOTE), REPEATABLE),
    sync.WatchSyncRequest: (
        one_of("sync_id", "connection_id"),
        text("sync_id", ID),
        text("connection_id", ID),
        text("after", TOKEN),
    ),
    sync.GetFreshnessRequest: (CONNECTION,),
    sync.ExplainContactRequest: (
        CONNECTION,
        one_of("xero_contact_id", "name", "contact_number", "email"),
        text("xero_contact_id", ID),
        *(text(field, CONTACT) for field in ("name", "contact_number", "email")),
    ),
    receivables.GetCustomerRequest: (CONNECTION, needed("customer_id")),
    receivables.ListCustomersRequest: (CONNECTION, text("search", SEARCH), _UPDATED_AFTER, known("order"), *PAGED),
    receivables.GetInvoiceRequest: (CONNECTION, needed("invoice_id")),
    receivables.ListInvoicesRequest: (
        CONNECTION,
        OF_CUSTOMER,
        listed("statuses"),
        a_date("due_before"),
        text("number", SEARCH),
        currency("currency_code"),
        _UPDATED_AFTER,
        *PAGED,
    ),
    receivables.ListCreditNotesRequest: (CONNECTION, OF_CUSTOMER, listed("statuses"), _UPDATED_AFTER, *PAGED),
    receivables.ListPaymentsRequest: (
        CONNECTION,
        OF_CUSTOMER,
        text("invoice_id", ID),
        a_date("paid_from"),
        _UPDATED_AFTER,
        *PAGED,
    ),
    receivables.ListUnappliedCreditsRequest: (CONNECTION, OF_CUSTOMER, all_known("kinds"), *PAGED),
    receivables.WatchChangesRequest: (
        CONNECTION,
        all_known("entities"),
        text("after", TOKEN),
        not_both("after", "from_start"),
    ),
    **validate_reconciliations.RULES,
    **validate_exports.RULES,
}
"""The rules of each request."""
