"""The arithmetic of both balances, line by line: each line adds to either side, and the lines add up to both."""

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from tieout_server.reconciliations.proof import Account, Compared


class ArithmeticLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one document, or something that no document shows, adds to both balances."""

    text: str
    document: Compared | None = None
    ours: Decimal
    xero: Decimal
    ours_so_far: Decimal
    xero_so_far: Decimal

    @property
    def difference(self) -> Decimal:
        """`ours` less `xero`."""
        return self.ours - self.xero


CHANGED_SINCE = "Changed since both sides were compared"
"""What the documents have moved by after the balances were taken; compare again, and it is gone."""


def lines_of(account: Account) -> list[ArithmeticLine]:
    """The lines of an account. They add up to its two balances exactly."""
    found, ours, xero = [], Decimal(0), Decimal(0)
    for text, document, our_part, xero_part in _parts(account):
        ours, xero = ours + our_part, xero + xero_part
        found.append(
            ArithmeticLine(
                text=text, document=document, ours=our_part, xero=xero_part, ours_so_far=ours, xero_so_far=xero
            )
        )
    return found


_Part = tuple[str, Compared | None, Decimal, Decimal]


def _parts(account: Account) -> Iterator[_Part]:
    parts: list[_Part] = [
        (document.number, document, document.ours_counts, document.xero_counts) for document in account.documents
    ]
    parts += _beside_documents(account)
    yield from parts
    ours = account.ours - sum((part[2] for part in parts), Decimal(0))
    xero = account.xero - sum((part[3] for part in parts), Decimal(0))
    if ours or xero:
        yield CHANGED_SINCE, None, ours, xero


def _beside_documents(account: Account) -> Iterator[_Part]:
    """What causes explain beyond the documents that stand for them: it is in Xero's figure, and in no document."""
    if account.discrepancy is None or account.discrepancy.is_over:
        return
    for share in account.discrepancy.causes:
        shown = (document.difference for document in account.documents if document.cause == share.cause)
        rest = share.amount - sum(shown, Decimal(0))
        if rest:
            yield share.sentence, None, Decimal(0), -rest
