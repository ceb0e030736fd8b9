"""How far the copy here is complete: what every answer that is read from it can be true for."""

from datetime import datetime

from tieout_server.ledger.documents import CREDITS, Entity
from tieout_server.storage import watermarks
from tieout_server.storage.database import Transaction

_SETTLING = (Entity.INVOICES, Entity.PAYMENTS, *CREDITS)


async def known_up_to(tx: Transaction, connection_id: str) -> datetime | None:
    """The instant up to which all invoices, and all that settles them, are here; None before the first sync's end."""
    marks = await watermarks.every(tx, connection_id)
    if any(entity not in marks for entity in _SETTLING):
        return None
    return min(marks[entity].last_read_at for entity in _SETTLING)
