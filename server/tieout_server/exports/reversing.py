"""Asking for payments to be taken back: what may be, how much of it, and once.

All requests of a connection to take something back come one after the other: each first wakes the connection's work,
whose row it holds to the commit. So two that come at the same time cannot both be the first.
"""

import secrets
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from tieout_server.errors import (
    InvalidRequestError,
    NotFoundError,
    PaymentIdReusedError,
    Violation,
)
from tieout_server.exports import fingerprint, not_now, record
from tieout_server.exports.currencies import is_too_fine
from tieout_server.exports.means import Means
from tieout_server.exports.messages import Reverse
from tieout_server.exports.state import REVERSIBLE, UNDER_WAY, ReversalKind, StepState, XeroStatus
from tieout_server.ledger.calendar import today_of
from tieout_server.ledger.exports import ExportEvent, PaymentExport, Reversal, Step
from tieout_server.ledger.links import CALLER
from tieout_server.ledger.money import readable
from tieout_server.storage import connections, export_steps, exports, reversals
from tieout_server.storage.database import Transaction
from tieout_server.work.requests import Requests

_BEGUN = (StepState.SENDING, StepState.UNKNOWN, StepState.DONE)
_NOUNS = {
    ReversalKind.REFUND: "a refund",
    ReversalKind.CHARGEBACK: "a chargeback",
    ReversalKind.LATE_FAILURE: "a late failure",
}


class ReversalRequests:
    """Takes requests to take payments back."""

    def __init__(self, means: Means, requests: Requests) -> None:
        self._means = means
        self._requests = requests

    async def reverse(self, asked: Reverse) -> PaymentExport:
        """Have a payment taken back, or part of it; the same reversal again is answered as it is.

        Answers the export, the new reversal being its last.

        Raises:
            NotFoundError: there is no such export.
            NotPermittedNowError: we did not put it into Xero, it is taken back already, or a reversal is under way.
            InvalidRequestError: the amount is not of this payment.
            PaymentIdReusedError: the reversal_id came before on this connection, for another reversal.
            RequestIdReusedError: the request_id came before with other content.
        """
        method = "ReversePayment"
        async with self._means.database.write() as tx:
            earlier = await self._requests.earlier(tx, method, asked.request_id, asked, str)
            export = await _get(tx, asked.export_id)
            if earlier:
                return export
            await self._means.wake(tx, export.connection_id)
            export = await _get(tx, asked.export_id, lock=True)
            amount = _amount(asked, export)
            await self._requests.keep(tx, method, asked.request_id, asked, export.id)
            if await _is_there(tx, export, asked, fingerprint.of_reversal(asked, amount)):
                return export
            own = (await export_steps.of_exports(tx, [export.id]))[export.id]
            _check_amount(export, asked.kind, amount, _left(export, own))
            return await self._begin(tx, export, asked, amount)

    async def _begin(self, tx: Transaction, export: PaymentExport, asked: Reverse, amount: Decimal) -> PaymentExport:
        now = self._means.clock.now()
        reversal = Reversal(
            id=f"rev_{secrets.token_hex(10)}",
            export_id=export.id,
            connection_id=export.connection_id,
            reversal_id=asked.reversal_id,
            kind=asked.kind,
            amount=amount,
            currency=export.payment.currency,
            reason=asked.reason,
            reversed_on=asked.reversed_on or today_of(await connections.organisation(tx, export.connection_id), now),
            xero_status=XeroStatus.QUEUED,
            due_at=now,
            created_at=now,
            updated_at=now,
        )
        await reversals.insert(tx, reversal, fingerprint.of_reversal(asked, amount))
        because = f": {asked.reason}" if asked.reason else ""
        what = readable(amount, export.payment.currency)
        sentence = f"{what} is to be taken back as {_NOUNS[ReversalKind(asked.kind)]}{because}."
        happened = ExportEvent(xero_status=export.xero_status, sentence=sentence, actor=CALLER, occurred_at=now)
        changed = msgspec.structs.replace(export, updated_at=now)
        told = await record.keep(tx, self._means.feed, changed, happened)
        return msgspec.structs.replace(told, history=())


def _amount(asked: Reverse, export: PaymentExport) -> Decimal:
    """How much is to be taken back; all of the payment where that is not said.

    Raises:
        InvalidRequestError: that much of this payment cannot be.
    """
    payment, wanted = export.payment, asked.amount
    if wanted is None:
        return payment.amount
    if wanted.currency != payment.currency:
        raise InvalidRequestError(Violation("amount.currency_code", f"must be that of the payment: {payment.currency}"))
    if is_too_fine(wanted.amount, payment.currency):
        raise InvalidRequestError(Violation("amount", f"must have no more decimals than {payment.currency} has"))
    if wanted.amount > payment.amount:
        whole = readable(payment.amount, payment.currency)
        raise InvalidRequestError(Violation("amount", f"must be at most what was paid: {whole}"))
    return wanted.amount


async def _is_there(tx: Transaction, export: PaymentExport, asked: Reverse, print_: str) -> bool:
    there = await reversals.of_caller_id(tx, export.connection_id, asked.reversal_id)
    if there is not None and there[1] != print_:
        raise PaymentIdReusedError(
            f"reversal_id {asked.reversal_id!r} came before on this connection, for another reversal. Use a new one.",
            reversal_id=asked.reversal_id,
            export_id=there[0].export_id,
        )
    return there is not None


def _left(export: PaymentExport, steps: Sequence[Step]) -> Decimal:
    """What of the payment is in Xero and not taken back yet.

    Raises:
        NotPermittedNowError: it is not there because of us, or a reversal has to come to its end first.
    """
    if export.xero_status not in REVERSIBLE:
        raise not_now.refusal(export, not_now.TAKEN_BACK[XeroStatus(export.xero_status)])
    begun = {step.reversal_id for step in steps if step.state in _BEGUN}
    counted = [one for one in export.reversals if one.xero_status != XeroStatus.ERROR or one.id in begun]
    for one in counted:
        if one.xero_status in UNDER_WAY:
            raise not_now.until_its_end(export, one)
        if one.xero_status == XeroStatus.ERROR:
            sentence = f"Reversal {one.reversal_id!r} is in ERROR and partly done: try it again with ReexportPayment."
            raise not_now.refusal(export, sentence)
    return export.payment.amount - sum((one.amount for one in counted), Decimal(0))


def _check_amount(export: PaymentExport, kind: str, amount: Decimal, left: Decimal) -> None:
    """See that so much can be taken back: not more than is left, and all of that where a bank takes it."""
    if not left:
        raise not_now.refusal(export, not_now.TAKEN_BACK[XeroStatus.REVERSED])
    rest = readable(left, export.payment.currency)
    if amount > left:
        raise not_now.refusal(export, f"Only {rest} of the payment is left to be taken back: name that as the amount.")
    if kind != ReversalKind.REFUND and amount != left:
        raise InvalidRequestError(Violation("amount", f"must be all that is left of the payment for a {kind}: {rest}"))


async def _get(tx: Transaction, export_id: str, *, lock: bool = False) -> PaymentExport:
    export = await exports.get(tx, export_id, lock=lock)
    if export is None:
        raise NotFoundError("payment export", export_id)
    return export
