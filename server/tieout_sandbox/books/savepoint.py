"""Taking back: what several moves did to the books is undone as if it had never been."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from tieout_sandbox.books.ledger import Ledger


class Savepoint:
    """The books as they were when it was made.

    Documents that were there before must be shown to `keep` before anything changes them; new ones are noticed by
    themselves, because every collection grows at its end only.
    """

    def __init__(self, books: Ledger) -> None:
        self._books = books
        self._collections: tuple[dict[str, Any], ...] = (
            books.contacts,
            books.invoices,
            books.credit_notes,
            books.overpayments,
            books.prepayments,
            books.payments,
            books.batches,
            books.bank_transactions,
        )
        self._sizes = [len(collection) for collection in self._collections]
        self._histories = {document_id: len(notes) for document_id, notes in books.history.items()}
        self._told = len(books.untold or ())
        self._kept: dict[int, tuple[object, dict[str, Any]]] = {}

    def keep(self, *documents: object) -> None:
        """Remember documents as they are now, unless they are remembered already."""
        for document in documents:
            if id(document) not in self._kept:
                self._kept[id(document)] = (document, _fields_of(document))

    def roll_back(self) -> None:
        """Make the books what they were; `revision` still rises, because something may have been read meanwhile."""
        for collection, size in zip(self._collections, self._sizes, strict=True):
            while len(collection) > size:
                collection.popitem()
        for document_id, notes in self._books.history.items():
            del notes[self._histories.get(document_id, 0) :]
        for document, values in self._kept.values():
            for name, value in values.items():
                setattr(document, name, value)
        self._kept.clear()
        if self._books.untold is not None:
            del self._books.untold[self._told :]
        self._books.revision += 1


@contextmanager
def untold(books: Ledger) -> Iterator[None]:
    """Hold back what those who watch would be told, until the block ends; an exception drops it."""
    assert books.untold is None, "one write at a time"
    books.untold = []
    try:
        yield
    except BaseException:
        books.untold = None
        raise
    told, books.untold = books.untold, None
    for document, change, at in told:
        books.tell(document, change, at)


def _fields_of(document: object) -> dict[str, Any]:
    values = ((field.name, getattr(document, field.name)) for field in fields(document))  # type: ignore[arg-type] # documents are dataclasses
    return {name: value.copy() if isinstance(value, list) else value for name, value in values}
