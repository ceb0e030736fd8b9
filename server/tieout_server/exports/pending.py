"""Which invoices are paid by payments that are on their way into Xero, or wait for somebody before they are."""

from collections.abc import Collection, Mapping

from tieout_server.storage import exports
from tieout_server.storage.database import Transaction


class PendingExports:
    """Tells those who would chase an invoice that it may be paid already."""

    async def pending(
        self, tx: Transaction, connection_id: str, xero_invoice_ids: Collection[str]
    ) -> Mapping[str, str]:
        """Of these invoices those of which a payment was collected and is not seen in Xero, each with its export."""
        return await exports.pending_of(tx, connection_id, xero_invoice_ids)
