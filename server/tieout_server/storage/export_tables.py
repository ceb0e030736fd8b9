"""The tables of payment exports; units are those of `tables`."""

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text

from tieout_server.storage.columns import connection_column, flag_column, int_column, metadata, text_column


def _of_export(*, is_key: bool = False) -> Column[str]:
    """Whose row it is: it goes with its export."""
    export = ForeignKey("payment_exports.id", ondelete="CASCADE")
    return Column("export_id", Text, export, primary_key=is_key, nullable=False)


payment_exports = Table(
    "payment_exports",
    metadata,
    Column("id", Text, primary_key=True),
    connection_column(),
    text_column("payment_id"),  # the caller's own
    text_column("fingerprint"),  # SHA-256 of the payment: whether a repeat says the same
    int_column("accepted_in"),  # ordinal of the connection's last sync then: what purges go by
    text_column("body"),  # JSON: the payment
    text_column("currency"),
    text_column("xero_status"),
    text_column("reason"),  # of the error; empty while there is none
    text_column("error"),  # JSON
    text_column("records"),  # JSON
    int_column("attempts"),
    int_column("due_at", nullable=True),  # null: nothing is to be done by itself
    int_column("verify_at", nullable=True),  # when it is to be looked for in Xero
    int_column("created_at"),
    int_column("updated_at"),
    int_column("exported_at", nullable=True),
    int_column("verified_at", nullable=True),
    text_column("dismissal_note"),
    text_column("dismissed_by"),
    Index(None, "connection_id", "payment_id", unique=True),
    Index(None, "connection_id", "created_at", "id"),
    Index(None, "connection_id", "xero_status", "created_at", "id"),
    Index(None, "connection_id", "due_at"),
    Index(None, "connection_id", "verify_at"),
)

export_lines = Table(
    "export_lines",
    metadata,
    _of_export(is_key=True),
    Column("position", Integer, primary_key=True),
    connection_column(),
    text_column("xero_invoice_id"),  # empty where the payment names the invoice by its number
    text_column("invoice_number"),
    Index(None, "connection_id", "xero_invoice_id"),
    Index(None, "connection_id", "invoice_number"),
)

export_links = Table(
    "export_links",
    metadata,
    _of_export(is_key=True),
    Column("xero_id", Text, primary_key=True),  # what an export made in Xero or is linked to; parts of batches, too
    connection_column(),
    flag_column("is_gone"),  # somebody removed it there
    Index(None, "connection_id", "xero_id"),
)

export_events = Table(
    "export_events",
    metadata,
    _of_export(is_key=True),
    Column("number", Integer, primary_key=True),
    text_column("xero_status"),
    text_column("sentence"),
    text_column("actor"),
    text_column("error"),  # JSON, empty where nothing went wrong
    int_column("at"),
)

export_steps = Table(
    "export_steps",
    metadata,
    Column("id", Text, primary_key=True),
    connection_column(),
    _of_export(),
    text_column("reversal_id"),  # ours; empty for a step of the export itself
    int_column("number"),
    text_column("draft"),  # JSON
    text_column("marker"),
    text_column("state"),
    text_column("idempotency_key"),
    int_column("sent_at", nullable=True),
    int_column("look_from", nullable=True),  # Xero's clock
    text_column("xero_id"),
    text_column("parts"),  # JSON
    Index(None, "connection_id", "state"),
    Index(None, "connection_id", "marker"),
    Index(None, "export_id"),
)

export_reversals = Table(
    "export_reversals",
    metadata,
    Column("id", Text, primary_key=True),
    connection_column(),
    _of_export(),
    text_column("reversal_id"),  # the caller's own
    text_column("fingerprint"),
    text_column("kind"),
    int_column("amount"),
    text_column("currency"),
    text_column("reason"),
    text_column("reversed_on"),
    text_column("xero_status"),
    text_column("error"),  # JSON
    text_column("records"),  # JSON
    int_column("due_at", nullable=True),
    int_column("created_at"),
    int_column("completed_at", nullable=True),
    int_column("updated_at"),
    Index(None, "connection_id", "reversal_id", unique=True),
    Index(None, "connection_id", "due_at"),
    Index(None, "export_id"),
)

export_leftovers = Table(
    "export_leftovers",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    text_column("xero_tenant_id"),  # it may be connected anew under another id
    text_column("fingerprint"),  # of the payment
    Column("marker", Text, primary_key=True),
    int_column("number"),
    text_column("draft"),  # JSON, without whom it is about
    text_column("idempotency_key"),
    int_column("sent_at"),
    int_column("look_from"),  # Xero's clock
    Index(None, "xero_tenant_id", "fingerprint"),
)

export_settings = Table(
    "export_settings",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    text_column("body"),  # JSON
    int_column("revision"),
    int_column("updated_at"),
)

export_notes = Table(
    "export_notes",
    metadata,
    _of_export(is_key=True),
    Column("xero_invoice_id", Text, primary_key=True),
    connection_column(),
    text_column("text"),
    text_column("idempotency_key"),
    int_column("due_at"),
    int_column("first_tried_at", nullable=True),
    Index(None, "connection_id", "due_at"),
)
