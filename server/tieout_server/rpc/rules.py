"""What the parts of a request may be: each rule tells every violation of itself."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import Any

from google.protobuf.message import Message

from tieout.v1 import receivables_service_pb2 as receivables
from tieout_server.errors import Violation
from tieout_server.rpc.paging import fault_of_token

ID = 100
"""Characters that an id of ours or of Xero's may have at most."""
REQUEST_ID = 64
TOKEN = 1000
SEARCH = 200
TOLD = 10
"""Broken items of a list that are named: what is told of an error has to fit into 8 KiB of headers."""

_LISTED = (receivables.INVOICE_STATUS_AUTHORISED, receivables.INVOICE_STATUS_PAID)

Rule = Callable[[Message], Iterator[Violation]]


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


def there(field: str) -> Rule:
    """A message that must be there."""

    def rule(request: Message) -> Iterator[Violation]:
        if not request.HasField(field):
            yield Violation(field, "is required")

    return rule


def within(field: str, *rules: Rule) -> Rule:
    """A message whose parts keep these rules; may be absent."""

    def rule(request: Message) -> Iterator[Violation]:
        if request.HasField(field):
            for broken in rules:
                for found in broken(getattr(request, field)):
                    yield Violation(f"{field}.{found.field}", found.rule)

    return rule


def an_amount(field: str, *, may_be_absent: bool = False) -> Rule:
    """An exact amount with its currency; must be there unless it may be absent."""

    def rule(request: Message) -> Iterator[Violation]:
        if not request.HasField(field):
            if not may_be_absent:
                yield Violation(field, "is required")
            return
        value = getattr(request, field)
        if not _CURRENCY.fullmatch(value.currency_code):
            yield Violation(f"{field}.currency_code", "must be an ISO 4217 code such as NZD")
        if not _AMOUNT.fullmatch(value.amount):
            yield Violation(f"{field}.amount", "must be a decimal number such as -12.50, with four decimals at most")

    return rule


def above_zero(field: str) -> Rule:
    """An amount, where it is one, that is more than nothing."""

    def rule(request: Message) -> Iterator[Violation]:
        amount = getattr(request, field).amount
        if _AMOUNT.fullmatch(amount) and Decimal(amount) <= 0:
            yield Violation(f"{field}.amount", "must be above zero")

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


def chosen(oneof: str, *fields: str) -> Rule:
    """A choice that must be made: one of these fields, and not empty."""

    def rule(request: Message) -> Iterator[Violation]:
        made = request.WhichOneof(oneof)
        if not made:
            yield Violation(fields[0], f"is required, or {' or '.join(fields[1:])}")
        elif getattr(request, made) == "":
            yield Violation(made, "is required")

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


# What many requests share

CONNECTION = needed("connection_id")
REPEATABLE = text("request_id", REQUEST_ID)
PAGED = (not_negative("page_size"), page_token("page_token"))
OF_CUSTOMER = text("customer_id", ID)
