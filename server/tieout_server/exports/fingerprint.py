"""Whether a repeat says the same: digests of payments and reversals, in which 5 and 5.00 are one amount."""

import hashlib
from decimal import Decimal

import msgspec

from tieout_server.exports.messages import Reverse
from tieout_server.ledger.exports import PlatformPayment


def of_payment(payment: PlatformPayment) -> str:
    """A digest of all that the payment says."""
    lines = tuple(msgspec.structs.replace(line, amount=_plain(line.amount)) for line in payment.lines)
    return _digest(msgspec.structs.replace(payment, amount=_plain(payment.amount), lines=lines))


def of_reversal(asked: Reverse, amount: Decimal) -> str:
    """A digest of what is to be taken back: all of a payment is the same whether it is stated or not."""
    return _digest((asked.export_id, asked.kind, asked.reason, asked.reversed_on, _plain(amount)))


def _plain(amount: Decimal) -> Decimal:
    return Decimal(f"{amount.normalize():f}")


def _digest(said: object) -> str:
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()
