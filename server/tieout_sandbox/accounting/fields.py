"""What `where` and `order` can ask of each kind of document."""

import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from typing import Any

from tieout_sandbox.accounting.render import target_type
from tieout_sandbox.accounting.where import Fields, Value
from tieout_sandbox.books.documents import Contact, Credit, CreditKind, Invoice, Payment


def _text(value: object) -> str | None:
    """Plain text: an enum's value compares and sorts as text, an empty field is empty, a missing one null."""
    return None if value is None else str(value)


class _Loose(str):
    """Text that equals another whatever the case and the accents (Xero, Contacts: name, address, account number)."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and _folded(self) == _folded(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(_folded(self))


def _folded(text: str) -> str:
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return plain.casefold()


def _loose(text: str | None) -> str | None:
    return None if text is None else _Loose(text)


def midnight(on: date | None) -> datetime | None:
    """A date as where compares it; nothing where there is none."""
    return None if on is None else datetime.combine(on, time.min, UTC)


def of_contact(read: Callable[[Any], Contact]) -> dict[str, Callable[[Any], Value]]:
    """What can be asked of a document's contact."""
    return {
        "contact.contactid": lambda document: read(document).id,
        "contact.name": lambda document: read(document).name,
        "contact.contactnumber": lambda document: read(document).contact_number,
    }


def _of_document(key: str) -> dict[str, Callable[[Any], Value]]:
    return {
        key: lambda document: document.id,
        "status": lambda document: _text(document.status),
        "date": lambda document: midnight(document.on),
        "reference": lambda document: document.reference,
        "currencycode": lambda document: document.currency,
        "total": lambda document: document.total,
        "subtotal": lambda document: document.sub_total,
        "totaltax": lambda document: document.total_tax,
        "fullypaidondate": lambda document: midnight(document.fully_paid_on),
        "updateddateutc": lambda document: document.updated_at,
        **of_contact(lambda document: document.contact),
    }


CONTACT: Fields = {
    "contactid": lambda contact: contact.id,
    "contactnumber": lambda contact: contact.contact_number,
    "accountnumber": lambda contact: _loose(contact.account_number),
    "contactstatus": lambda contact: _text(contact.status),
    "name": lambda contact: _loose(contact.name),
    "firstname": lambda contact: contact.first_name,
    "lastname": lambda contact: contact.last_name,
    "emailaddress": lambda contact: _loose(contact.email),
    "iscustomer": lambda contact: contact.is_customer,
    "issupplier": lambda contact: contact.is_supplier,
    "updateddateutc": lambda contact: contact.updated_at,
}

INVOICE: Fields = {
    **_of_document("invoiceid"),
    "type": lambda invoice: _text(invoice.type),
    "invoicenumber": lambda invoice: invoice.number,
    "duedate": lambda invoice: midnight(invoice.due_on),
    "expectedpaymentdate": lambda invoice: midnight(invoice.expected_payment_on),
    "amountdue": lambda invoice: invoice.amount_due,
    "amountpaid": lambda invoice: invoice.amount_paid,
    "amountcredited": lambda invoice: invoice.amount_credited,
    "senttocontact": lambda invoice: invoice.sent,
}


def credit_fields(kind: CreditKind, key: str) -> Fields:
    """What can be asked of a credit of this kind, whose id has this name."""
    number = {"creditnotenumber": _number} if kind is CreditKind.CREDIT_NOTE else {}
    if kind is CreditKind.PREPAYMENT:
        number = {"reference": _number, "invoicenumber": _number}
    return {
        **_of_document(key),
        "type": lambda credit: credit.type,
        "remainingcredit": lambda credit: credit.remaining_credit,
        **number,
    }


def _number(credit: Credit) -> str:
    return credit.number


def _target(payment: Payment) -> Invoice | Credit:
    return payment.target


PAYMENT: Fields = {
    "paymentid": lambda payment: payment.id,
    "paymenttype": lambda payment: payment.type,
    "status": lambda payment: _text(payment.status),
    "date": lambda payment: midnight(payment.on),
    "amount": lambda payment: payment.amount,
    "reference": lambda payment: payment.reference,
    "isreconciled": lambda payment: payment.is_reconciled,
    "updateddateutc": lambda payment: payment.updated_at,
    "invoice.invoiceid": lambda payment: payment.target.id,
    "invoice.invoicenumber": lambda payment: payment.target.number,
    "invoice.type": lambda payment: _text(target_type(_target(payment))),
    "account.accountid": lambda payment: payment.account.id,
    "account.code": lambda payment: payment.account.code,
    **{f"invoice.{name}": read for name, read in of_contact(lambda payment: payment.target.contact).items()},
}


ACCOUNT: Fields = {
    "accountid": lambda account: account.id,
    "code": lambda account: account.code,
    "name": lambda account: account.name,
    "type": lambda account: account.type,
    "class": lambda account: account.class_,
    "status": lambda account: account.status,
    "systemaccount": lambda account: account.system_account,
    "currencycode": lambda account: account.currency,
    "enablepaymentstoaccount": lambda account: account.takes_payments,
    "updateddateutc": lambda account: account.updated_at,
}

USER: Fields = {
    "userid": lambda member: member.user.id,
    "emailaddress": lambda member: member.user.email,
    "firstname": lambda member: member.user.first_name,
    "lastname": lambda member: member.user.last_name,
    "organisationrole": lambda member: _text(member.role),
    "issubscriber": lambda member: member.is_subscriber,
    "updateddateutc": lambda member: member.updated_at,
}

CURRENCY: Fields = {"code": lambda currency: currency.code, "description": lambda currency: currency.description}
