"""Payments for tests, and what is known when they are examined: books in NZD with a bank account in NZD and in EUR."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import count
from typing import Any

from documents import account, invoice
from tieout_server.exports.accounts import Ground
from tieout_server.exports.checks import Situation, filed
from tieout_server.ledger.documents import Account, Organisation
from tieout_server.ledger.exports import ExportSettings, PaymentLine, PlatformPayment, Step
from tieout_server.ledger.writes import Draft, Payable, PaymentSeen

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
PAID_ON = date(2026, 11, 20)
BANK_NZD = account("bank-nzd", name="Everyday", currency="NZD", takes_payments=True)
BANK_EUR = account("bank-eur", name="Euro", currency="EUR", takes_payments=True)
CLEARING = account("clearing", name="Clearing", kind="CURRENT", code="850", takes_payments=True)
REFUNDED = account("refunded", name="Refunds", kind="REVENUE", code="260")
ORGANISATION = Organisation(xero_tenant_id="t1", name="Ahi Ltd", base_currency="NZD")


def numbered() -> Callable[[], str]:
    """Markers in their order: TIE000000001, TIE000000002, …"""
    counted = count(1)
    return lambda: f"TIE{next(counted):09}"


def ground(*accounts: Account, **settings: Any) -> Ground:  # noqa: ANN401 - any field of the settings
    chosen: dict[str, Any] = {"accounts": {"NZD": "bank-nzd", "EUR": "bank-eur"}}
    kept = accounts or (BANK_NZD, BANK_EUR, CLEARING, REFUNDED)
    return Ground(
        settings=ExportSettings(connection_id="con_1", **(chosen | settings)),
        accounts={one.xero_account_id: one for one in kept},
        base_currency="NZD",
    )


def seen(xero_id: str, amount: str, paid_on: date = PAID_ON, reference: str = "") -> PaymentSeen:
    return PaymentSeen(xero_payment_id=xero_id, amount=Decimal(amount), paid_on=paid_on, reference=reference)


def payable(xero_id: str = "i1", due: str = "100.00", *payments: PaymentSeen, **fields: Any) -> Payable:  # noqa: ANN401 - any field of the invoice
    stated: dict[str, Any] = {"due": Decimal(due), "total": Decimal("100.00"), "number": xero_id.upper()}
    return Payable(invoice=invoice(xero_id, **(stated | fields)), payments=payments, as_of=NOW)


def line(named: str = "i1", amount: str = "100.00", *, by_number: bool = False) -> PaymentLine:
    if by_number:
        return PaymentLine(invoice_number=named, amount=Decimal(amount))
    return PaymentLine(xero_invoice_id=named, amount=Decimal(amount))


def payment(*lines: PaymentLine, **fields: Any) -> PlatformPayment:  # noqa: ANN401 - any field of the payment
    """A payment of these lines, or of all that is due on i1; its amount is what they come to."""
    named = lines or (line(),)
    stated: dict[str, Any] = {
        "payment_id": "pay-1",
        "paid_on": PAID_ON,
        "currency": "NZD",
        "amount": sum((one.amount for one in named), Decimal(0)),
        "reference": "Card 4242",
    }
    return PlatformPayment(lines=named, **(stated | fields))


def situation(*payables: Payable, **fields: Any) -> Situation:  # noqa: ANN401 - any field of the situation
    """What is known of these invoices; of i1, 100.00 NZD due, where none are said."""
    by_id, by_number = filed(payables or (payable(),))
    stated: dict[str, Any] = {
        "ground": ground(),
        "organisation": ORGANISATION,
        "now": NOW,
        "by_id": by_id,
        "by_number": by_number,
        "new_marker": numbered(),
    }
    return Situation(**(stated | fields))


def step(draft: Draft, state: str = "DONE", **fields: Any) -> Step:  # noqa: ANN401 - any field of the step
    stated: dict[str, Any] = {
        "id": "stp_1",
        "connection_id": "con_1",
        "export_id": "exp_1",
        "number": 1,
        "marker": "TIE00000000A",
        "xero_id": "x1",
    }
    return Step(draft=draft, state=state, **(stated | fields))
