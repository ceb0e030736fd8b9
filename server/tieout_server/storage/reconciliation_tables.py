"""The tables of reconciliation; units are those of `tables`."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text

from tieout_server.storage.columns import connection_column, int_column, metadata, text_column

discrepancies = Table(
    "discrepancies",
    metadata,
    Column("id", Text, primary_key=True),
    connection_column(),
    text_column("xero_contact_id"),  # the customer, over merges
    text_column("currency"),
    int_column("ours"),
    int_column("xero"),
    text_column("place"),  # what is sorted by: the currency, then the largest difference first
    text_column("cause"),
    text_column("state"),
    text_column("body"),  # JSON: causes, documents, sentence and what else nothing is searched by
    text_column("note"),
    int_column("opened_at"),
    int_column("updated_at"),
    int_column("resolved_at", nullable=True),
    Index(None, "connection_id", "xero_contact_id", "currency", unique=True),
    Index(None, "connection_id", "place", "id"),
)

discrepancy_events = Table(
    "discrepancy_events",
    metadata,
    Column("discrepancy_id", Text, ForeignKey("discrepancies.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    text_column("state"),
    text_column("sentence"),
    text_column("actor"),
    int_column("difference"),
    int_column("at"),
    Index(None, "at"),
)

comparisons = Table(
    "comparisons",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("xero_contact_id", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("at", BigInteger, primary_key=True),  # when a figure was seen to have changed
    int_column("ours"),
    int_column("xero"),
    text_column("source"),
    Index(None, "at"),
    sqlite_with_rowid=False,
)

compared = Table(
    "compared",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    int_column("up_to"),  # the changes of the mirror up to here were compared with what Xero states
    text_column("suspects"),  # JSON: the customers that are still to be compared closely
)

reconciliations = Table(
    "reconciliations",
    metadata,
    Column("id", Text, primary_key=True),
    connection_column(),
    int_column("ordinal"),
    text_column("state"),
    int_column("max_calls"),
    int_column("call_count"),
    int_column("customers"),
    int_column("compared"),
    int_column("agreeing"),
    int_column("off_balance"),
    int_column("self_healed"),
    int_column("left_over"),
    int_column("percent"),  # of 10,000; never falls
    text_column("error_sentence"),
    text_column("totals"),  # JSON
    int_column("failures"),  # in a row, for the back-off
    Column("work", LargeBinary, nullable=False, default=b""),  # msgspec JSON: what is left to do
    int_column("created_at"),
    int_column("started_at", nullable=True),
    int_column("ended_at", nullable=True),
    int_column("updated_at"),
    Index(None, "connection_id", "ordinal", unique=True),
    Index(None, "ended_at"),
)

platform_balances = Table(
    "platform_balances",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("named", Text, primary_key=True),  # Xero's id of a contact, perhaps of one that is not known here
    Column("currency", Text, primary_key=True),
    int_column("balance"),
    int_column("as_of"),
    sqlite_with_rowid=False,
)

cases = Table(
    "cases",
    metadata,
    Column("id", Text, primary_key=True),
    connection_column(),
    text_column("description"),
    text_column("customer_ids"),  # JSON
    text_column("discrepancy_ids"),  # JSON
    text_column("sentence"),
    int_column("created_at"),
    Index(None, "connection_id", "created_at"),
)
