"""What nobody outside Xero knows for sure: each open question is a switch with the answer we assume.

The numbers U1 to U25 and the words "undocumented" and "sources disagree" say how a question came to be open.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Any, get_type_hints

import msgspec

_BROAD_SCOPES_END_ON = date(2027, 9, 13)
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def _switch(default: Any, meaning: str, source: str) -> Any:  # noqa: ANN401 a field of any type
    return field(default=default, metadata={"meaning": meaning, "source": source})


@dataclass(slots=True)
class Switches:
    """The open questions of Xero's behaviour that matter here; set them at any time, and be right under both answers.

    `NOT_YET_USED` names those that nothing follows yet; a test keeps that list honest.
    """

    # Reads
    balances_in_base_currency: bool = _switch(
        True, "Contact balances are converted to the base currency.", "U8; Xero's Contacts page; its OpenAPI says raw"
    )
    balances_net_credits: bool = _switch(
        True, "AccountsReceivable.Outstanding nets unapplied credits; Overdue never does.", "U8; inferred from examples"
    )
    modified_since_inclusive: bool = _switch(
        True, "If-Modified-Since includes documents changed in exactly that second.", "U6; undocumented"
    )
    modified_since_cut_to_seconds: bool = _switch(
        True, "A fraction of a second in If-Modified-Since is dropped.", "U6; undocumented"
    )
    nothing_modified_answers_304: bool = _switch(
        False, "Nothing new since If-Modified-Since is a 304 without body, not an empty list.", "U6; old documents"
    )
    deleted_payments_in_delta: bool = _switch(
        True, "Lists of payments contain deleted ones.", "U5; inferred from the OpenAPI examples"
    )
    archived_contacts_in_delta: bool = _switch(
        False, "With If-Modified-Since, archived contacts are listed without includeArchived.", "U7; undocumented"
    )
    parameter_names_ignore_case: bool = _switch(
        True, "Query parameters are known whatever their case.", "documents write both page and Page"
    )
    removed_users_stay_listed: bool = _switch(
        True, "A removed user stays in /Users, with the role REMOVED.", "the enum of roles suggests it"
    )
    user_id_is_xero_userid: bool = _switch(
        True, "UserID in /Users equals the token's xero_userid.", "U12; undocumented"
    )
    json_must_be_asked_for: bool = _switch(
        False,
        "Without application/json in Accept a call gets 406: Xero would answer in XML, which is not written here.",
        "Xero, requests and responses; off, because most clients ask",
    )
    query_error_number: int = _switch(16, "ErrorNumber of a QueryParseException.", "U16; seen by integrators")
    post_data_error_number: int = _switch(14, "ErrorNumber of a PostDataInvalidException.", "U16; seen by integrators")
    no_data_error_number: int = _switch(17, "ErrorNumber of a NoDataProcessedException.", "U16; seen by integrators")

    nested_credits_are_brief: bool = _switch(
        False,
        "Credits inside an invoice are id, number and AppliedAmount, without date and total.",
        "U24; undocumented",
    )

    nested_payments_are_brief: bool = _switch(
        False,
        "Payments inside an invoice are id, date and amount, without Reference and BatchPaymentID.",
        "undocumented; OpenAPI examples show them here and there",
    )
    batches_in_payments_have_texts: bool = _switch(
        False,
        "A payment's BatchPayment has TotalAmount and IsReconciled as texts.",
        'OpenAPI examples: "50.00", "false"; Xero-OpenAPI #526 says number and boolean, and xero-python reads no other',
    )

    # Limits
    egress_counts_writes: bool = _switch(True, "Egress counts the answers to writes.", "U10; undocumented")
    egress_counts_compressed: bool = _switch(True, "Egress counts bytes as sent, after gzip.", "U10; undocumented")
    limit_app_minute_name: str = _switch(
        "appminute", "X-Rate-Limit-Problem for the limit of 10,000 a minute.", "U9; undocumented"
    )
    limit_names_capitalised: bool = _switch(
        False, "X-Rate-Limit-Problem begins with a capital: Minute, Day.", "U9; older documents write Daily"
    )
    limit_answers_have_text: bool = _switch(False, "A 429 has a plain text body.", "U9; undocumented")
    idempotent_call_in_flight_waits: bool = _switch(
        False, "A second call with the Idempotency-Key of a running one waits for it; else it is refused.", "U17"
    )

    # Identity
    connected_stay_in_picker: bool = _switch(
        True,
        "The consent page offers what the user connected already; else it can be agreed to without choosing anything.",
        "Xero, permissions FAQ: it is not offered; undocumented what a consent anew looks like then",
    )
    several_organisations_per_consent: bool = _switch(
        True, "The consent page lets a user choose more than one organisation.", "U22; for some apps only"
    )
    invalid_client_status: int = _switch(400, "Status of invalid_client at the token endpoint.", "undocumented")
    web_apps_may_use_pkce: bool = _switch(
        True, "An app with a secret may add a PKCE challenge.", "undocumented; OAuth 2.1 wants it"
    )
    id_token_has_names: bool = _switch(
        True, "With the scope profile, the id_token carries names.", "U21; usual in OpenID Connect"
    )
    broad_scopes_end_on: date = _switch(  # noqa: RUF009 it makes a field
        _BROAD_SCOPES_END_ON, "From this day no app is given broad scopes.", "U11; FAQ; a webinar says 27 September"
    )
    problem_keys_lower_case: bool = _switch(
        False, "401 and 403 bodies write type, title, status … in lower case.", "documents; recordings are PascalCase"
    )
    downgraded_users_read_settings: bool = _switch(
        True,
        "Organisation, its Actions and Users still answer an app whose user fell below Standard; nothing else does.",
        "undocumented; Xero names 403 only for users who may not connect apps",
    )
    closed_organisations_describe_themselves: bool = _switch(
        True,
        "GET /Organisation answers for an organisation whose subscription or trial has ended, and says so.",
        "undocumented; Xero's OpenAPI: OrganisationStatus is ACTIVE if you can connect",
    )
    gone_organisations_stay_connected: bool = _switch(
        True,
        "A deleted or reset organisation stays in /connections, without a name.",
        "Xero, multi-tenancy: connections do not expire; undocumented for organisations that are gone",
    )
    removed_connection_answers_403: bool = _switch(
        False,
        "DELETE of a connection that is gone answers 403 AuthenticationUnsuccessful, not 404.",
        "Xero's OpenAPI says 404; an integrator met 403",
    )
    allocations_need_payments_scope: bool = _switch(
        False, "Credit note allocations want accounting.payments, not accounting.invoices.", "U19; undocumented"
    )

    # Books
    allocations_move_updated: bool = _switch(
        True, "Adding or removing an allocation moves UpdatedDateUTC of invoice and credit.", "U4; believed"
    )
    due_date_of_part_paid_moves_updated: bool = _switch(
        False, "A new due date on a part-paid invoice moves its UpdatedDateUTC.", "Xero, requests: it does not"
    )
    credits_make_customers: bool = _switch(
        False, "A first credit makes a contact a customer or supplier, as a first invoice or bill does.", "undocumented"
    )
    contact_edits_move_documents: bool = _switch(
        False, "A contact's new name moves UpdatedDateUTC of its documents.", "U23; undocumented"
    )
    erased_contacts_are_redacted: bool = _switch(
        True,
        "A contact with the status GDPRREQUEST has no name, addresses and numbers of a person any more.",
        "Xero's developer blog, June 2018: redacted if possible, kept where law wants it; with what is undocumented",
    )
    erasing_moves_updated: bool = _switch(
        True, "A GDPR request moves the contact's UpdatedDateUTC and sends CONTACT UPDATE.", "undocumented"
    )
    payment_reference_length: int = _switch(
        255, "The longest Reference of a payment that is accepted.", "U13; 50 is safe, 118 reported"
    )
    batches_keep_all_texts: bool = _switch(
        False,
        "A batch keeps all its texts; else Reference, Particulars and Code in New Zealand only, Details elsewhere.",
        "OpenAPI names the countries; what becomes of others is undocumented (a contact's: Xero-NetStandard #488)",
    )
    bank_amount_is_writable: bool = _switch(
        False, "A payment may say its BankAmount.", "U14; reported since 22 June 2026"
    )
    base_currency_pays_foreign_documents: bool = _switch(
        True,
        "A foreign document may be paid from an account in the base currency, not only from one in its own.",
        "U14; undocumented",
    )
    reconciled_payments_can_be_deleted: bool = _switch(
        False, "A reconciled payment can be deleted through the API.", "U15; undocumented"
    )
    failed_calls_commit_nothing: bool = _switch(
        True, "A 400 for one bad element means that none of the call was done.", "U20; documented, not for payments"
    )
    payments_may_lie_in_the_future: bool = _switch(True, "A payment's date may be after today.", "U25; undocumented")

    written_elements_keep_their_order: bool = _switch(
        True, "The answer to a write lists its elements in the order in which they were sent.", "undocumented"
    )
    removed_allocations_have_envelope: bool = _switch(
        False,
        "Removing an allocation answers with an Allocations collection, not with the bare allocation.",
        "Xero's OpenAPI says bare; xero-php-oauth2 #341 and xero-python #159 saw a collection",
    )

    # Webhooks
    payments_fire_invoice_update: bool = _switch(
        True, "A payment or allocation sends INVOICE UPDATE.", "U1; undocumented"
    )
    payment_webhooks: bool = _switch(False, "The category PAYMENT is delivered.", "U2; in the OpenAPI since 2 Nov 2026")
    overpayment_events_have_data: bool = _switch(
        True, "OVERPAYMENT events carry Type, Status and UpdatedDateUTCString.", "U3; as for PREPAYMENT"
    )
    webhook_most_events: int = _switch(0, "The most events of one delivery; 0 has no bound.", "U18; undocumented")
    webhook_sequence_per_organisation: bool = _switch(
        False, "Event sequences count per organisation, not per app.", "U18; undocumented"
    )


NOT_YET_USED: frozenset[str] = frozenset()
"""Switches that can be set, but that nothing in the sandbox asks yet."""


@dataclass(frozen=True, slots=True)
class Description:
    """One switch for a person to read."""

    name: str
    value: str
    default: str
    meaning: str
    source: str
    used: bool


def described(switches: Switches) -> Iterator[Description]:
    """Every switch, in the order of the class."""
    for found in fields(switches):
        yield Description(
            name=found.name,
            value=_text(getattr(switches, found.name)),
            default=_text(found.default),
            meaning=found.metadata["meaning"],
            source=found.metadata["source"],
            used=found.name not in NOT_YET_USED,
        )


def set_switch(switches: Switches, name: str, value: object) -> None:
    """Set one switch, from its own type or from text.

    Raises:
        ValueError: there is no such switch, or the value is not of its kind.
    """
    kinds = get_type_hints(Switches)
    if name not in kinds:
        raise ValueError(f"There is no switch {name!r}; there are {', '.join(kinds)}.")
    try:
        setattr(switches, name, _converted(value, kinds[name]))
    except (msgspec.ValidationError, ValueError) as error:
        raise ValueError(f"The switch {name} is a {kinds[name].__name__}, not {value!r}.") from error


def set_from_text(switches: Switches, setting: str) -> None:
    """Set a switch from `name=value`, as the command line gives it.

    Raises:
        ValueError: it is not of that form, there is no such switch, or the value is not of its kind.
    """
    name, equals, value = setting.partition("=")
    if not equals:
        raise ValueError(f"Write name=value, not {setting!r}.")
    set_switch(switches, name.strip(), value.strip())


def table(switches: Switches) -> str:
    """All switches as lines of text: name, value, meaning, source."""
    lines = []
    for found in described(switches):
        changed = "" if found.value == found.default else f" (default {found.default})"
        unused = "" if found.used else " [not yet used]"
        lines += [
            f"{found.name} = {found.value}{changed}{unused}",
            f"    {found.meaning}",
            f"    Source: {found.source}",
        ]
    return "\n".join(lines)


def _converted(value: object, kind: type) -> object:
    if isinstance(value, str) and kind is bool:
        if value.lower() not in _TRUE | _FALSE:
            raise ValueError(value)
        return value.lower() in _TRUE
    return msgspec.convert(value, kind, strict=not isinstance(value, str))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
