"""What a request must be before anything is done with it: one table of rules, every violation told at once."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from itertools import islice
from typing import Any

from google.protobuf.message import Message

from tieout.v1 import connection_service_pb2 as connection
from tieout.v1 import receivables_service_pb2 as receivables
from tieout.v1 import reconciliation_service_pb2 as reconciliation
from tieout.v1 import sync_service_pb2 as sync
from tieout_server.errors import InvalidRequestError, Violation
from tieout_server.rpc.paging import fault_of_token

ID = 100
"""Characters that an id of ours or of Xero's may have at most."""
MERCHANT_ID = 200
REQUEST_ID = 64
URL = 2000
SECRET = 4000
"""Characters that what Xero appends to the redirect address may have at most."""
TOKEN = 1000
SEARCH = 200
CONTACT = 255
"""Characters that a contact's name or email address may have at most (Xero, Contacts)."""
NOTE = 1000
WATCHED = 1000
"""Connections that one watch may name."""
REMARK = 2000
"""Characters of a note about a discrepancy."""
DESCRIPTION = 10_000
"""Characters of what somebody has to say about a difference."""
REPORTED = 10
"""References of one kind in a report: each of their customers is read from Xero."""
CHASED = 1000
SUBMITTED = 1000
"""Balances in one message."""
TOLD = 10
"""Broken items of a list that are named: what is told of an error has to fit into 8 KiB of headers."""

_LISTED = (receivables.INVOICE_STATUS_AUTHORISED, receivables.INVOICE_STATUS_PAID)

Rule = Callable[[Message], Iterator[Violation]]


def check(request: Message) -> None:
    """Nothing, if the request is sound; a message that is not of this API is left alone.

    Raises:
        InvalidRequestError: it is not; all that is wrong is named.
    """
    violations = [violation for rule in RULES.get(type(request), ()) for violation in rule(request)]
    if violations:
        raise InvalidRequestError(*violations)


# The rules


def text(field: str, up_to: int) -> Rule:
    """A text of so many characters at most, without control characters; may be empty."""

    def rule(request: Message) -> Iterator[Violation]:
        if fault := _fault_of_text(getattr(request, field), up_to):
            yield Violation(field, fault)

    return rule


def needed(field: str, up_to: int = ID) -> Rule:
    """A text that must be there."""
    may_be_empty = text(field, up_to)

    def rule(request: Message) -> Iterator[Violation]:
        if getattr(request, field):
            yield from may_be_empty(request)
        else:
            yield Violation(field, "is required")

    return rule


def texts(field: str, at_most: int, up_to: int = ID) -> Rule:
    """So many texts at most, none of them empty."""

    def rule(request: Message) -> Iterator[Violation]:
        values = getattr(request, field)
        if len(values) > at_most:
            yield Violation(field, f"may name {at_most} at most, not {len(values)}")
            return
        for index, value in enumerate(values):
            if fault := _fault_of_text(value, up_to) if value else "must not be empty":
                yield Violation(f"{field}[{index}]", fault)

    return rule


def prose(field: str, up_to: int) -> Rule:
    """A text that may have several lines; may be empty."""

    def rule(request: Message) -> Iterator[Violation]:
        value = getattr(request, field)
        if fault := _fault_of_text(value.translate(_LINES), up_to):
            yield Violation(field, fault)

    return rule


def each(field: str, at_most: int, *rules: Rule) -> Rule:
    """So many messages at most, each of which keeps these rules; the first `TOLD` that do not are named."""

    def broken(request: Message) -> Iterator[list[Violation]]:
        for index, item in enumerate(getattr(request, field)):
            if found := [violation for rule in rules for violation in rule(item)]:
                yield [Violation(f"{field}[{index}].{one.field}", one.rule) for one in found]

    def rule(request: Message) -> Iterator[Violation]:
        if (count := len(getattr(request, field))) > at_most:
            yield Violation(field, f"may have {at_most} at most, not {count}")
            return
        for violations in islice(broken(request), TOLD):
            yield from violations

    return rule


def an_amount(field: str) -> Rule:
    """An exact amount with its currency; must be there."""

    def rule(request: Message) -> Iterator[Violation]:
        if not request.HasField(field):
            yield Violation(field, "is required")
            return
        value = getattr(request, field)
        if not _CURRENCY.fullmatch(value.currency_code):
            yield Violation(f"{field}.currency_code", "must be an ISO 4217 code such as NZD")
        if not _AMOUNT.fullmatch(value.amount):
            yield Violation(f"{field}.amount", "must be a decimal number such as -12.50, with four decimals at most")

    return rule


def known(field: str) -> Rule:
    """A value of the field's enum; the unspecified one asks for the default."""

    def rule(request: Message) -> Iterator[Violation]:
        value = getattr(request, field)
        if value not in _numbers(request, field):
            yield Violation(field, f"has no value {value}")

    return rule


def stated(field: str) -> Rule:
    """A value of the field's enum, not the unspecified one."""
    must_be_known = known(field)

    def rule(request: Message) -> Iterator[Violation]:
        if getattr(request, field):
            yield from must_be_known(request)
        else:
            yield Violation(field, "must be stated")

    return rule


def all_known(field: str) -> Rule:
    """Values of the field's enum, none of them the unspecified one."""

    def rule(request: Message) -> Iterator[Violation]:
        numbers = _numbers(request, field)
        for index, value in enumerate(getattr(request, field)):
            if not value:
                yield Violation(f"{field}[{index}]", "must be stated")
            elif value not in numbers:
                yield Violation(f"{field}[{index}]", f"has no value {value}")

    return rule


def listed(field: str) -> Rule:
    """Statuses of documents that are in the ledger: drafts and what was voided or deleted is never listed."""
    must_be_known = all_known(field)

    def rule(request: Message) -> Iterator[Violation]:
        yield from must_be_known(request)
        for index, value in enumerate(getattr(request, field)):
            if value and value not in _LISTED:
                yield Violation(f"{field}[{index}]", "must be AUTHORISED or PAID: no others are listed")

    return rule


def a_date(field: str) -> Rule:
    """A date as YYYY-MM-DD; may be empty."""

    def rule(request: Message) -> Iterator[Violation]:
        value = getattr(request, field)
        try:
            sound = not value or date.fromisoformat(value).isoformat() == value
        except ValueError:
            sound = False
        if not sound:
            yield Violation(field, "must be a date such as 2026-11-22")

    return rule


def currency(field: str) -> Rule:
    """An ISO 4217 code; may be empty."""

    def rule(request: Message) -> Iterator[Violation]:
        value = getattr(request, field)
        if value and not _CURRENCY.fullmatch(value):
            yield Violation(field, "must be an ISO 4217 code such as NZD")

    return rule


def instant(field: str) -> Rule:
    """A Timestamp that is one; may be absent."""

    def rule(request: Message) -> Iterator[Violation]:
        try:
            getattr(request, field).ToDatetime()
        except (ValueError, OverflowError):
            yield Violation(field, "must lie between the years 1 and 9999")

    return rule


def page_token(field: str) -> Rule:
    """A token that was given for this request; may be empty."""

    def rule(request: Message) -> Iterator[Violation]:
        token = getattr(request, field)
        if fault := _fault_of_text(token, TOKEN) or fault_of_token(request, token):
            yield Violation(field, fault)

    return rule


def not_negative(field: str) -> Rule:
    """A number that is zero or more."""

    def rule(request: Message) -> Iterator[Violation]:
        if getattr(request, field) < 0:
            yield Violation(field, "must not be negative")

    return rule


def not_both(one: str, other: str) -> Rule:
    """Two fields of which one at most may be set."""

    def rule(request: Message) -> Iterator[Violation]:
        if getattr(request, one) and getattr(request, other):
            yield Violation(one, f"excludes {other}")

    return rule


def one_of(*fields: str) -> Rule:
    """Fields of which one must be set."""

    def rule(request: Message) -> Iterator[Violation]:
        if not any(getattr(request, field) for field in fields):
            others = " or ".join(fields[1:])
            yield Violation(fields[0], f"is required, or {others}" if others else "is required")

    return rule


_LINES = str.maketrans("\n\r\t", "   ")
_CURRENCY = re.compile(r"[A-Z]{3}")
_AMOUNT = re.compile(r"-?[0-9]{1,14}(\.[0-9]{1,4})?")
"""As much as is stored exactly."""


def _fault_of_text(value: str, up_to: int) -> str:
    if len(value) > up_to:
        return f"may have {up_to} characters at most, not {len(value)}"
    has_control = any(unicodedata.category(character) == "Cc" for character in value)
    return "must not contain control characters" if has_control else ""


def _numbers(request: Message, field: str) -> Mapping[int, Any]:
    enum = request.DESCRIPTOR.fields_by_name[field].enum_type
    return enum.values_by_number if enum else {}


# The table

_CONNECTION = needed("connection_id")
_REPEATABLE = text("request_id", REQUEST_ID)
_PAGED = (not_negative("page_size"), page_token("page_token"))
_OF_CUSTOMER = text("customer_id", ID)
_UPDATED_AFTER = instant("updated_after")
_DISCREPANCY = needed("discrepancy_id")
_RECONCILIATION = needed("reconciliation_id")
_INVOICE = (
    one_of("invoice_id", "xero_invoice_id", "invoice_number"),
    text("invoice_id", ID),
    text("xero_invoice_id", ID),
    text("invoice_number", SEARCH),
)
_BALANCE = (
    one_of("customer_id", "xero_contact_id"),
    text("customer_id", ID),
    text("xero_contact_id", ID),
    an_amount("balance"),
)

RULES: Mapping[type[Message], tuple[Rule, ...]] = {
    connection.ConnectRequest: (needed("merchant_id", MERCHANT_ID), text("return_url", URL), _REPEATABLE),
    connection.ReconnectRequest: (_CONNECTION, text("return_url", URL), _REPEATABLE),
    connection.CompleteAuthorizationRequest: (
        needed("state", SECRET),
        one_of("code", "error"),
        text("code", SECRET),
        text("error", SECRET),
        _REPEATABLE,
    ),
    connection.ChooseOrganisationRequest: (_CONNECTION, needed("xero_tenant_id"), _REPEATABLE),
    connection.GetConnectionRequest: (_CONNECTION,),
    connection.ListConnectionsRequest: (text("merchant_id", MERCHANT_ID), all_known("states"), *_PAGED),
    connection.DisconnectRequest: (_CONNECTION, _REPEATABLE),
    connection.CheckConnectionRequest: (_CONNECTION,),
    connection.ListConnectionEventsRequest: (_CONNECTION, *_PAGED),
    connection.WatchConnectionsRequest: (
        text("merchant_id", MERCHANT_ID),
        texts("connection_ids", WATCHED),
        not_both("connection_ids", "merchant_id"),
        text("after", TOKEN),
        not_both("after", "from_start"),
    ),
    sync.StartSyncRequest: (_CONNECTION, known("mode"), all_known("entities"), _REPEATABLE),
    sync.GetSyncRequest: (needed("sync_id"),),
    sync.ListSyncsRequest: (_CONNECTION, all_known("states"), *_PAGED),
    sync.CancelSyncRequest: (needed("sync_id"), _REPEATABLE),
    sync.ResolveHeldSyncRequest: (needed("sync_id"), stated("decision"), text("note", NOTE), _REPEATABLE),
    sync.WatchSyncRequest: (
        one_of("sync_id", "connection_id"),
        text("sync_id", ID),
        text("connection_id", ID),
        text("after", TOKEN),
    ),
    sync.GetFreshnessRequest: (_CONNECTION,),
    sync.ExplainContactRequest: (
        _CONNECTION,
        one_of("xero_contact_id", "name", "contact_number", "email"),
        text("xero_contact_id", ID),
        *(text(field, CONTACT) for field in ("name", "contact_number", "email")),
    ),
    receivables.GetCustomerRequest: (_CONNECTION, needed("customer_id")),
    receivables.ListCustomersRequest: (_CONNECTION, text("search", SEARCH), _UPDATED_AFTER, known("order"), *_PAGED),
    receivables.GetInvoiceRequest: (_CONNECTION, needed("invoice_id")),
    receivables.ListInvoicesRequest: (
        _CONNECTION,
        _OF_CUSTOMER,
        listed("statuses"),
        a_date("due_before"),
        text("number", SEARCH),
        currency("currency_code"),
        _UPDATED_AFTER,
        *_PAGED,
    ),
    receivables.ListCreditNotesRequest: (_CONNECTION, _OF_CUSTOMER, listed("statuses"), _UPDATED_AFTER, *_PAGED),
    receivables.ListPaymentsRequest: (
        _CONNECTION,
        _OF_CUSTOMER,
        text("invoice_id", ID),
        a_date("paid_from"),
        _UPDATED_AFTER,
        *_PAGED,
    ),
    receivables.ListUnappliedCreditsRequest: (_CONNECTION, _OF_CUSTOMER, all_known("kinds"), *_PAGED),
    receivables.WatchChangesRequest: (
        _CONNECTION,
        all_known("entities"),
        text("after", TOKEN),
        not_both("after", "from_start"),
    ),
    reconciliation.ReconcileCustomerRequest: (_CONNECTION, needed("customer_id")),
    reconciliation.StartReconciliationRequest: (_CONNECTION, not_negative("max_calls"), _REPEATABLE),
    reconciliation.GetReconciliationRequest: (_RECONCILIATION,),
    reconciliation.WatchReconciliationRequest: (_RECONCILIATION, text("after", TOKEN)),
    reconciliation.ListDiscrepanciesRequest: (
        _CONNECTION,
        all_known("states"),
        all_known("causes"),
        _OF_CUSTOMER,
        *_PAGED,
    ),
    reconciliation.GetDiscrepancyRequest: (_DISCREPANCY,),
    reconciliation.WatchDiscrepanciesRequest: (_CONNECTION, text("after", TOKEN), not_both("after", "from_start")),
    reconciliation.AcknowledgeDiscrepancyRequest: (_DISCREPANCY, prose("note", REMARK), _REPEATABLE),
    reconciliation.ReportDiscrepancyRequest: (
        _CONNECTION,
        one_of("customer_ids", "invoices", "payment_ids"),
        texts("customer_ids", REPORTED),
        each("invoices", REPORTED, *_INVOICE),
        texts("payment_ids", REPORTED),
        prose("description", DESCRIPTION),
        _REPEATABLE,
    ),
    reconciliation.ExportEvidenceRequest: (
        one_of("discrepancy_id", "case_id"),
        text("discrepancy_id", ID),
        text("case_id", ID),
    ),
    reconciliation.SubmitPlatformBalancesRequest: (
        text("connection_id", ID),
        instant("as_of"),
        _REPEATABLE,
        each("balances", SUBMITTED, *_BALANCE),
    ),
    reconciliation.CheckChaseRequest: (_CONNECTION, one_of("invoices"), each("invoices", CHASED, *_INVOICE)),
}
"""The rules of each request that is served."""
