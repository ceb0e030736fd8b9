"""The tables of reconciliation; units are those of `tables`, where all tables are found."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text

from tieout_server.storage.columns import connection, integer, metadata, text

discrepancies = Table(
    "discrepancies",
    metadata,
    Column("id", Text, primary_key=True),
    connection(),
    text("xero_contact_id"),  # the customer, over merges
    text("currency"),
    integer("ours"),
    integer("xero"),
    text("place"),  # what is sorted by: the currency, then the largest difference first
    text("cause"),
    text("state"),
    text("body"),  # JSON: causes, documents, sentence and what else nothing is searched by
    text("note"),
    integer("opened_at"),
    integer("updated_at"),
    integer("resolved_at", nullable=True),
    Index(None, "connection_id", "xero_contact_id", "currency", unique=True),
    Index(None, "connection_id", "place", "id"),
)

discrepancy_events = Table(
    "discrepancy_events",
    metadata,
    Column("discrepancy_id", Text, ForeignKey("discrepancies.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    text("state"),
    text("sentence"),
    text("actor"),
    integer("difference"),
    integer("at"),
)

comparisons = Table(
    "comparisons",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("xero_contact_id", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("at", BigInteger, primary_key=True),  # when a figure was seen to have changed
    integer("ours"),
    integer("xero"),
    text("source"),
    sqlite_with_rowid=False,
)

compared = Table(
    "compared",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    integer("up_to"),  # the changes of the mirror up to here were compared with what Xero states
    text("suspects"),  # JSON: the customers that are still to be compared closely
)

reconciliations = Table(
    "reconciliations",
    metadata,
    Column("id", Text, primary_key=True),
    connection(),
    integer("ordinal"),
    text("state"),
    integer("max_calls"),
    integer("call_count"),
    integer("customers"),
    integer("compared"),
    integer("agreeing"),
    integer("off_balance"),
    integer("self_healed"),
    integer("left_over"),
    integer("percent"),  # of 10,000; never falls
    text("error_sentence"),
    text("totals"),  # JSON
    integer("failures"),  # in a row, for the back-off
    Column("work", LargeBinary, nullable=False, default=b""),  # msgspec JSON: what is left to do
    integer("created_at"),
    integer("started_at", nullable=True),
    integer("ended_at", nullable=True),
    integer("updated_at"),
    Index(None, "connection_id", "ordinal", unique=True),
)

platform_balances = Table(
    "platform_balances",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("named", Text, primary_key=True),  # Xero's id of a contact, perhaps of one that is not known here
    Column("currency", Text, primary_key=True),
    integer("balance"),
    integer("as_of"),
    sqlite_with_rowid=False,
)

cases = Table(
    "cases",
    metadata,
    Column("id", Text, primary_key=True),
    connection(),
    text("description"),
    text("customer_ids"),  # JSON
    text("discrepancy_ids"),  # JSON
    text("sentence"),
    integer("created_at"),
    Index(None, "connection_id", "created_at"),
)
