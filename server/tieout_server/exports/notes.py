"""Notes in the history of invoices that name the platform's payment. Nobody waits for them, and nothing does.

A note cannot be looked for, so it is added once at most: when it is tried first is committed before, and after the
life of its key it is not tried again if it may have been sent.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

import msgspec

from tieout_server import log
from tieout_server.errors import AnswerLostError, BugError, TryAgainError
from tieout_server.exports.send import idempotency_key
from tieout_server.exports.turn import Turn
from tieout_server.ledger.exports import PaymentExport
from tieout_server.ledger.money import readable
from tieout_server.storage import export_notes
from tieout_server.storage.export_notes import ExportNote

logger = log.get("exports")

AT_ONCE = 20
"""Notes in one slice, each a call."""
KEY_LIVES = timedelta(minutes=5)
"""How long a repetition with the same key is safe: 6 minutes (Xero, Idempotent requests), less what a call takes."""
LATER = timedelta(minutes=10)


def of_export(export: PaymentExport, invoices: Collection[str], now: datetime) -> list[ExportNote]:
    """The notes for an export that was seen in Xero: one for each of the invoices that it pays."""
    payment = export.payment
    amount = readable(payment.amount, payment.currency)
    said = f"Payment {payment.payment_id} of {amount} recorded by Tieout (export {export.id})."
    return [
        ExportNote(
            connection_id=export.connection_id,
            export_id=export.id,
            xero_invoice_id=invoice,
            text=said,
            idempotency_key=idempotency_key(),
            due_at=now,
        )
        for invoice in sorted(invoices)
    ]


async def send_notes(turn: Turn) -> None:
    """Add what is due to the history of invoices.

    Raises:
        TryAgainError: there is no use in going on now.
        PersonMustActError: Xero refuses us.
    """
    async with turn.means.database.read() as tx:
        due = await export_notes.due(tx, turn.link.id, turn.now(), AT_ONCE)
    for note in due:
        if _may_be_there(note, turn.now()):
            await _forget(turn, note)
            continue
        tried = msgspec.structs.replace(note, first_tried_at=note.first_tried_at or turn.now())
        async with turn.commit() as tx:
            await export_notes.put(tx, tried)
        try:
            await turn.books.note(note.xero_invoice_id, note.text, note.idempotency_key)
        except AnswerLostError:
            await _later(turn, msgspec.structs.replace(tried, due_at=turn.now() + timedelta(seconds=30)))
        except TryAgainError as trouble:  # nothing was sent: it is as if it had not been tried
            again_at = trouble.retry_at or turn.now() + LATER
            await _later(turn, msgspec.structs.replace(note, due_at=again_at))
            raise
        except BugError as refused:  # the invoice is gone, or Xero takes no notes on it
            logger.info("note given up", export_id=note.export_id, trouble=refused.sentence)
            await _forget(turn, note)
        else:
            await _forget(turn, note)


def _may_be_there(note: ExportNote, now: datetime) -> bool:
    """Whether it may have been added so long ago that a repetition might be a second note."""
    return note.first_tried_at is not None and now - note.first_tried_at > KEY_LIVES


async def _later(turn: Turn, note: ExportNote) -> None:
    async with turn.commit() as tx:
        await export_notes.put(tx, note)


async def _forget(turn: Turn, note: ExportNote) -> None:
    async with turn.commit() as tx:
        await export_notes.done(tx, note)
