"""The tables: money in 1/10,000, instants in microseconds since 1970 (UTC), dates as ISO text, lists as JSON text."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, text

from tieout_server.storage.columns import connection as _connection
from tieout_server.storage.columns import flag as _flag
from tieout_server.storage.columns import integer as _int
from tieout_server.storage.columns import metadata
from tieout_server.storage.columns import text as _text
from tieout_server.storage.reconciliation_tables import (
    cases,
    compared,
    comparisons,
    discrepancies,
    discrepancy_events,
    platform_balances,
    reconciliations,
)

__all__ = [
    "accounts",
    "allocations",
    "authorisations",
    "calls",
    "cases",
    "compared",
    "comparisons",
    "connections",
    "contacts",
    "credits",
    "discrepancies",
    "discrepancy_events",
    "event_counter",
    "events",
    "invoices",
    "metadata",
    "payments",
    "platform_balances",
    "reconciliations",
    "requests",
    "sync_lines",
    "syncs",
    "watermarks",
    "work",
    "xero_users",
]

_MERGED = text("merged_into <> ''")


def _mirrored(
    name: str, key: str, *columns: Column[str] | Column[int] | Column[bool], indexes: tuple[Index, ...] = ()
) -> Table:
    """A table of documents as Xero stated them, one row per document and connection."""
    return Table(
        name,
        metadata,
        Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
        Column(key, Text, primary_key=True),
        *columns,
        _int("xero_updated_at"),  # the older of two versions never replaces the newer one
        _int("seen_in"),  # ordinal of the connection's sync that last met it
        _int("changed_at"),  # when it changed here
        *indexes,
        sqlite_with_rowid=False,  # the key is the table: one B-tree less to write
    )


connections = Table(
    "connections",
    metadata,
    Column("id", Text, primary_key=True),
    _text("merchant_id"),
    _text("state"),
    _text("health"),
    _text("reason"),  # JSON, empty while there is none
    _text("xero_tenant_id"),
    _text("membership_id"),
    _text("organisation"),  # JSON
    _text("xero_user_id"),
    _text("authorised_by"),  # JSON
    _text("scopes"),
    _text("choices"),  # JSON: the organisations to choose from
    _int("sync_ordinal"),
    _int("last_synced_at", nullable=True),
    _int("created_at"),
    _int("updated_at"),
    Index(None, "merchant_id", "id"),
    Index(
        "uq_connections_connected",  # an organisation has one connection that is connected
        "xero_tenant_id",
        unique=True,
        sqlite_where=text("state = 'CONNECTED'"),
        postgresql_where=text("state = 'CONNECTED'"),
    ),
)

authorisations = Table(
    "authorisations",
    metadata,
    Column("state_hash", Text, primary_key=True),  # SHA-256: the state itself is never stored
    _connection(),
    Column("code_verifier", LargeBinary, nullable=False),  # sealed
    _text("return_url"),
    _int("expires_at"),
    _int("used_at", nullable=True),
    _text("granted"),  # JSON, once the code has become tokens
    _int("created_at"),
    Index(None, "connection_id"),
)

xero_users = Table(
    "xero_users",
    metadata,
    Column("xero_user_id", Text, primary_key=True),
    Column("access_token", LargeBinary, nullable=False),  # sealed
    Column("refresh_token", LargeBinary, nullable=False),  # sealed
    _int("access_expires_at"),
    _int("refresh_expires_at"),
    _text("scopes"),
    _int("generation"),  # raised with every new token set
    _int("updated_at"),
)

events = Table(
    "events",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    _text("connection_id"),  # no foreign key: the log outlives what it speaks of
    _text("topic"),
    _text("subject"),  # the sync, document or export it is about
    _int("at"),
    Column("payload", LargeBinary, nullable=False),
    Index(None, "topic", "subject", "position"),
    Index(None, "at"),
)

event_counter = Table(
    "event_counter",
    metadata,
    Column("id", Integer, primary_key=True),
    _int("last"),  # the last position given out
    _int("pruned"),  # positions up to this one are no longer kept
)

syncs = Table(
    "syncs",
    metadata,
    Column("id", Text, primary_key=True),
    _connection(),
    _int("ordinal"),
    _text("mode"),
    _text("state"),
    _text("phase"),
    _text("entities"),  # words
    _text("requested_by"),
    _int("percent"),  # of 10,000; never falls
    _int("eta_at", nullable=True),
    _text("waiting_by"),
    _int("waiting_until", nullable=True),
    _text("error"),  # JSON {reason, sentence, owner}
    _text("milestones"),  # JSON {name: ISO instant}
    _int("failures"),  # in a row, for the back-off
    _int("call_count"),
    _int("bytes_wire"),
    _int("created_at"),
    _int("started_at", nullable=True),
    _int("ended_at", nullable=True),
    _int("updated_at"),
    Index(None, "connection_id", "ordinal", unique=True),
)

sync_lines = Table(
    "sync_lines",
    metadata,
    Column("sync_id", Text, ForeignKey("syncs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    _int("rank"),  # the order in which lines are read and shown
    Column("body", LargeBinary, nullable=False),  # msgspec JSON of syncs.plan.Line
)

watermarks = Table(
    "watermarks",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("entity", Text, primary_key=True),
    _int("watermark_at"),  # Xero's clock
    _int("last_read_at"),  # ours
    _int("row_count"),
)

work = Table(
    "work",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    _text("lane"),
    _int("priority"),
    _int("due_at", nullable=True),  # null: nothing to do
    _text("owner"),  # who is doing it; empty while nobody is
    _int("leased_until", nullable=True),
    _int("fence"),  # raised whenever someone takes it
    Index(None, "due_at"),
)

requests = Table(
    "requests",
    metadata,
    Column("method", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    _text("digest"),
    Column("answer", LargeBinary, nullable=False),  # sealed: it may hold a consent's state
    _int("created_at"),
    Index(None, "created_at"),
)

calls = Table(
    "calls",
    metadata,
    Column("xero_tenant_id", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    Column("purpose", Text, primary_key=True),
    _int("call_count"),
    _int("bytes_wire"),
    _int("bytes_body"),
)

contacts = _mirrored(
    "contacts",
    "xero_contact_id",
    _text("name"),
    _text("name_key"),  # casefolded: order and search
    _text("status"),
    _text("email"),
    _text("contact_number"),
    _text("account_number"),
    _flag("is_customer"),
    _flag("is_supplier"),
    _text("default_currency"),
    _text("merged_into"),
    _text("details"),  # JSON: first and last name, phones, persons
    _int("stated_outstanding", nullable=True),
    _int("stated_overdue", nullable=True),
    indexes=(
        Index(None, "connection_id", "name_key", "xero_contact_id"),
        Index(None, "connection_id", "merged_into", sqlite_where=_MERGED, postgresql_where=_MERGED),
    ),
)

invoices = _mirrored(
    "invoices",
    "xero_invoice_id",
    _text("xero_contact_id"),
    _text("number"),
    _text("reference"),
    _text("status"),
    _text("issued_on", nullable=True),
    _text("due_on"),  # 9999-12-31 for none, so that it sorts last and is never overdue
    _text("expected_payment_on", nullable=True),
    _text("fully_paid_on", nullable=True),
    _text("currency"),
    _text("rate"),  # exact decimal text: never added up
    _int("subtotal"),
    _int("tax"),
    _int("total"),
    _int("due"),
    _int("paid"),
    _int("credited"),
    _flag("sent_to_contact"),
    indexes=(
        Index(None, "connection_id", "xero_contact_id"),
        Index(None, "connection_id", "due_on", "xero_invoice_id"),
    ),
)

credits = _mirrored(  # noqa: A001 - the field's word; the builtin is never meant here
    "credits",
    "xero_credit_id",
    _text("entity"),
    _text("xero_contact_id"),
    _text("number"),
    _text("reference"),
    _text("status"),
    _text("issued_on", nullable=True),
    _text("currency"),
    _text("rate"),
    _int("total"),
    _int("remaining"),
    indexes=(Index(None, "connection_id", "xero_contact_id"),),
)

allocations = Table(
    "allocations",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("xero_credit_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True),  # Xero does not always give an allocation an id
    _text("xero_allocation_id"),
    _text("xero_invoice_id"),
    _int("amount"),
    _text("allocated_on", nullable=True),
    Index(None, "connection_id", "xero_invoice_id"),
    sqlite_with_rowid=False,
)

payments = _mirrored(
    "payments",
    "xero_payment_id",
    _text("kind"),
    _text("status"),
    _text("xero_document_id"),
    _text("xero_contact_id"),
    _text("paid_on", nullable=True),
    _int("amount"),
    _int("bank_amount", nullable=True),
    _text("currency"),
    _text("rate"),
    _text("reference"),
    _text("xero_account_id"),
    _text("xero_batch_payment_id"),
    _flag("is_reconciled"),
    indexes=(Index(None, "connection_id", "xero_document_id"),),
)

accounts = _mirrored(
    "accounts",
    "xero_account_id",
    _text("code"),
    _text("name"),
    _text("kind"),
    _text("status"),
    _text("currency"),
    _flag("takes_payments"),
)
