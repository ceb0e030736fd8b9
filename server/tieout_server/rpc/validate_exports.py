"""What the requests of the PaymentExportService must be."""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from google.protobuf.message import Message

from tieout.v1 import payment_export_service_pb2 as export
from tieout_server.errors import Violation
from tieout_server.rpc.rules import (
    CONNECTION,
    ID,
    PAGED,
    REPEATABLE,
    SEARCH,
    TOKEN,
    Rule,
    a_date,
    above_zero,
    all_known,
    an_amount,
    chosen,
    currency,
    each,
    known,
    needed,
    not_both,
    one_of,
    prose,
    stated,
    text,
    there,
    within,
)

CALLERS_ID = 200
"""Characters of the caller's own id of a payment or a reversal."""
SHOWN = 200
"""Characters of what is shown in Xero."""
NOTE = 2000
LINES = 200
CURRENCIES = 200
"""Accounts in one request: more than there are currencies."""
TAX_TYPE = 50


def _number_is_not_blank(line: Message) -> Iterator[Violation]:
    number: str = getattr(line, "invoice_number")  # noqa: B009 - of whatever message
    if number and not number.strip():
        yield Violation("invoice_number", "must not be blank")


_EXPORT = needed("export_id")
_LINE = (
    chosen("invoice", "xero_invoice_id", "invoice_number"),
    text("xero_invoice_id", ID),
    text("invoice_number", SEARCH),
    _number_is_not_blank,
    an_amount("amount"),
    above_zero("amount"),
)


def _faults_of_amounts(payment: Message) -> Iterator[Violation]:
    """Whatever is wrong with an amount of a payment."""
    yield from an_amount("amount")(payment)
    yield from each("lines", LINES, an_amount("amount"))(payment)


def _adds_up(payment: Message) -> Iterator[Violation]:
    """The lines are of the payment's currency, and come to its amount at most; judged where both are amounts at all."""
    assert isinstance(payment, export.PlatformPayment)
    if any(_faults_of_amounts(payment)):
        return
    whole = payment.amount
    for index, line in enumerate(payment.lines):
        if line.amount.currency_code != whole.currency_code:
            yield Violation(
                f"lines[{index}].amount.currency_code", f"must be that of the payment, {whole.currency_code}"
            )
            return
    lines = sum((Decimal(line.amount.amount) for line in payment.lines), Decimal())
    if lines > Decimal(whole.amount):
        yield Violation("lines", f"add up to {lines:f}, which is more than the amount, {whole.amount}")


_PAYMENT = (
    there("payment"),
    within(
        "payment",
        needed("payment_id", CALLERS_ID),
        one_of("paid_on"),
        a_date("paid_on"),
        an_amount("amount"),
        above_zero("amount"),
        one_of("lines"),
        each("lines", LINES, *_LINE),
        _adds_up,
        text("reference", SHOWN),
        known("method"),
    ),
)

RULES: Mapping[type[Message], tuple[Rule, ...]] = {
    export.ListExportAccountsRequest: (CONNECTION, currency("currency_code"), *PAGED),
    export.GetExportSettingsRequest: (CONNECTION,),
    export.UpdateExportSettingsRequest: (
        CONNECTION,
        each("accounts", CURRENCIES, one_of("currency_code"), currency("currency_code"), needed("xero_account_id")),
        known("overpayment_policy"),
        text("refund_xero_account_id", ID),
        text("refund_tax_type", TAX_TYPE),
        text("revision", ID),
        REPEATABLE,
    ),
    export.CheckPaymentRequest: (CONNECTION, *_PAYMENT),
    export.ExportPaymentRequest: (CONNECTION, *_PAYMENT, REPEATABLE),
    export.GetPaymentExportRequest: (
        chosen("reference", "export_id", "payment"),
        text("export_id", ID),
        within("payment", CONNECTION, needed("payment_id", CALLERS_ID)),
    ),
    export.ListPaymentExportsRequest: (CONNECTION, all_known("xero_statuses"), all_known("error_reasons"), *PAGED),
    export.ReexportPaymentRequest: (_EXPORT, REPEATABLE),
    export.ReexportPaymentsRequest: (CONNECTION, all_known("error_reasons"), REPEATABLE),
    export.DismissPaymentExportRequest: (_EXPORT, one_of("note"), prose("note", NOTE), REPEATABLE),
    export.ReversePaymentRequest: (
        _EXPORT,
        stated("kind"),
        text("reason", SHOWN),
        needed("reversal_id", CALLERS_ID),
        an_amount("amount", may_be_absent=True),
        above_zero("amount"),
        a_date("reversed_on"),
        REPEATABLE,
    ),
    export.WatchPaymentExportsRequest: (CONNECTION, text("after", TOKEN), not_both("after", "from_start")),
}
