"""Life going on while somebody reads: one random change to the books per served page."""

import random
from dataclasses import dataclass, field
from decimal import Decimal

from tieout_sandbox.books.books import Books
from tieout_sandbox.books.documents import ContactStatus, Invoice, InvoiceType, Status


@dataclass(slots=True)
class Churn:
    """Off until switched on; the same seed and reads make the same changes.

    Args:
        seed: where the choices come from.
        on: whether pages are followed by a change.
    """

    seed: int = 1
    on: bool = False
    changes: int = 0
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(f"churn {self.seed}")  # noqa: S311 made-up changes have to be repeatable

    def after_page(self, books: Books) -> None:
        """Change something, if it is switched on."""
        if self.on:
            self.change(books)

    def change(self, books: Books) -> None:
        """Edit an invoice, enter one, or pay one."""
        self.changes += 1
        draw = self._rng.randrange(3)
        if draw == 0:
            invoice = self._rng.choice(_editable(books))
            books.edit_invoice(invoice.id, reference=f"changed {self.changes}")
        elif draw == 1:
            self._enter(books)
        else:
            self._pay(books)

    def _enter(self, books: Books) -> None:
        active = [contact for contact in books.contacts.values() if contact.status is ContactStatus.ACTIVE]
        total = Decimal(self._rng.randrange(1_000, 90_000)).scaleb(-2)
        books.create_invoice(self._rng.choice(active).id, total, reference=f"entered {self.changes}")

    def _pay(self, books: Books) -> None:
        owed = [invoice for invoice in _editable(books) if invoice.status is Status.AUTHORISED]
        if not owed:
            self._enter(books)
            return
        books.pay(self._rng.choice(owed).id, reference=f"paid {self.changes}")


def _editable(books: Books) -> list[Invoice]:
    kept = {Status.AUTHORISED, Status.PAID}
    return [found for found in books.invoices.values() if found.type is InvoiceType.ACCREC and found.status in kept]
