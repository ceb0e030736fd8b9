"""The tables: money in 1/10,000, instants in microseconds since 1970 (UTC), dates as ISO text, lists as JSON text."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, text

from tieout_server.storage.columns import connection_column, flag_column, int_column, metadata, text_column

_MERGED = text("merged_into <> ''")
_FREE = text("owner = '' AND due_at IS NOT NULL")
_OWNED = text("owner <> ''")


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
        int_column("xero_updated_at"),  # the older of two versions never replaces the newer one
        int_column("seen_in"),  # ordinal of the connection's sync that last met it
        int_column("changed_at"),  # when it changed here
        int_column("change_number"),  # the number of that change among those of its connection
        flag_column("was_here"),  # whether a version that was kept counted: only what was here can have left
        Index(None, "connection_id", "change_number"),
        *indexes,
        sqlite_with_rowid=False,  # the key is the table: one B-tree less to write
    )


connections = Table(
    "connections",
    metadata,
    Column("id", Text, primary_key=True),
    text_column("merchant_id"),
    text_column("state"),
    text_column("health"),
    text_column("reason"),  # JSON, empty while there is none
    text_column("xero_tenant_id"),
    text_column("membership_id"),
    text_column("organisation"),  # JSON
    text_column("xero_user_id"),
    text_column("authorised_by"),  # JSON
    text_column("scopes"),
    text_column("choices"),  # JSON: the organisations to choose from
    int_column("sync_ordinal"),
    int_column("last_synced_at", nullable=True),
    int_column("consented_at", nullable=True),
    int_column("gap_from_at", nullable=True),  # null: nothing was missed
    int_column("purge_up_to"),  # what syncs up to this ordinal read is to be erased
    int_column("created_at"),
    int_column("updated_at"),
    Index(None, "merchant_id", "id"),
    Index(None, "xero_user_id"),
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
    connection_column(),
    Column("code_verifier", LargeBinary, nullable=False),  # sealed
    text_column("return_url"),
    int_column("expires_at"),
    int_column("used_at", nullable=True),
    text_column("granted"),  # JSON, once the code has become tokens and until the consent is settled or refused
    text_column("xero_user_id"),  # who granted it; empty when `granted` is
    int_column("ended_at", nullable=True),  # when it was settled or refused
    int_column("created_at"),
    Index(None, "connection_id"),
)

xero_users = Table(
    "xero_users",
    metadata,
    Column("xero_user_id", Text, primary_key=True),
    Column("access_token", LargeBinary, nullable=False),  # sealed
    Column("refresh_token", LargeBinary, nullable=False),  # sealed
    int_column("access_expires_at"),
    int_column("refresh_expires_at"),
    text_column("scopes"),
    int_column("generation"),  # raised with every new token set
    text_column("refreshing_by"),  # which process is asking Xero for the next token set; empty while none is
    int_column("refreshing_until", nullable=True),
    int_column("leaving_until", nullable=True),  # until when something of theirs is being removed at Xero
    int_column("updated_at"),
)

leavings = Table(
    "leavings",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    *(Column(name, Text, primary_key=True) for name in ("xero_user_id", "membership_id", "event_id")),
    int_column("since"),
    Index(None, "xero_user_id"),
)

connection_events = Table(
    "connection_events",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),  # the position of the event that told of it
    text_column("connection_id"),  # kept for ever, purged connections included
    text_column("kind"),
    text_column("from_state"),
    text_column("to_state"),
    text_column("health"),
    text_column("reason"),  # JSON, empty while there is none
    text_column("actor"),
    text_column("gap"),  # JSON
    int_column("occurred_at"),
    Index(None, "connection_id", "id"),
)

events = Table(
    "events",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    text_column("connection_id"),  # no foreign key: the log outlives what it speaks of
    text_column("topic"),
    text_column("subject"),  # the sync, document or export it is about
    int_column("at"),
    Column("payload", LargeBinary, nullable=False),
    Index(None, "topic", "subject", "position"),
    Index(None, "at"),
)

event_counter = Table(
    "event_counter",
    metadata,
    Column("id", Integer, primary_key=True),
    int_column("last"),  # the last position given out
    int_column("pruned"),  # positions up to this one are no longer kept
)

syncs = Table(
    "syncs",
    metadata,
    Column("id", Text, primary_key=True),
    connection_column(),
    int_column("ordinal"),
    text_column("mode"),
    text_column("state"),
    text_column("phase"),
    text_column("entities"),  # words
    text_column("requested_by"),
    int_column("percent"),  # of 10,000; never falls
    int_column("eta_at", nullable=True),
    text_column("waiting_by"),
    int_column("waiting_until", nullable=True),
    text_column("error"),  # JSON {reason, sentence, owner}
    text_column("resolution"),  # JSON {decision, note, at}, once somebody decided about it while it was held
    text_column("milestones"),  # JSON {name: ISO instant}
    int_column("failures"),  # in a row, for the back-off
    int_column("call_count"),
    int_column("bytes_wire"),
    int_column("created_at"),
    int_column("started_at", nullable=True),
    int_column("ended_at", nullable=True),
    int_column("updated_at"),
    Index(None, "connection_id", "ordinal", unique=True),
    Index(None, "ended_at"),
)

sync_lines = Table(
    "sync_lines",
    metadata,
    Column("sync_id", Text, ForeignKey("syncs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    int_column("rank"),  # the order in which lines are read and shown
    Column("body", LargeBinary, nullable=False),  # msgspec JSON of syncs.plan.Line
)

watermarks = Table(
    "watermarks",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("entity", Text, primary_key=True),
    int_column("watermark_at"),  # Xero's clock
    int_column("last_read_at"),  # ours
    int_column("row_count"),
    int_column("next_read_at", nullable=True),  # ours; null: nothing is planned
    int_column("moved_at", nullable=True),  # ours: when a read last brought something new
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("item", Text, primary_key=True),
    int_column("due_at"),
    int_column("page"),  # of a listing of which a page at a time is swept
)

work = Table(
    "work",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    text_column("lane"),
    int_column("priority"),
    int_column("due_at", nullable=True),  # null: nothing to do
    text_column("owner"),  # the replica that does it; empty while nobody does
    int_column("fence"),  # raised whenever someone takes it
    Index("ix_work_due_at", "due_at", sqlite_where=_FREE, postgresql_where=_FREE),
    Index("ix_work_owner", "owner", sqlite_where=_OWNED, postgresql_where=_OWNED),
)

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("entity", Text, primary_key=True),
    Column("xero_id", Text, primary_key=True),  # empty: whatever changed of the entity
    Column("follows", Integer, primary_key=True),  # 1: no event named it; beside what an event says of the document
    text_column("kind"),
    int_column("event_at"),  # Xero's clock: a version that is older is not the one that the event is about
    int_column("received_at"),
    int_column("due_at"),  # when it is to be read
    int_column("tries"),
    Index(None, "received_at"),
)

webhook_arrivals = Table(  # bound to nothing, so that nothing is waited for; of SQLite the file beside has it in use
    "webhook_arrivals",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("notices", LargeBinary, nullable=False),  # JSON
    int_column("arrived_at"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Integer, primary_key=True),
    int_column("heard_at"),  # when a delivery with a good signature last came, to the minute
)

change_counters = Table(
    "change_counters",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    int_column("last"),  # the last number given out; its row's lock makes writers of one mirror take turns
    text_column("sync_id"),  # what brought that change; empty where no sync did
    int_column("since"),  # the first of the numbers up to the last that the same one brought
    *(Column(name, BigInteger) for name in ("gap_behind", "gap_up_to")),  # numbers between are of a lost future
)

change_runs = Table(
    "change_runs",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("since", BigInteger, primary_key=True),  # up to the next run's
    text_column("sync_id"),
    sqlite_with_rowid=False,
)

requests = Table(
    "requests",
    metadata,
    Column("method", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    text_column("digest"),
    Column("answer", LargeBinary, nullable=False),  # sealed: it may hold a consent's state
    int_column("created_at"),
    Index(None, "created_at"),
)

calls = Table(
    "calls",
    metadata,
    Column("xero_tenant_id", Text, primary_key=True),
    Column("day", Text, primary_key=True, index=True),
    Column("purpose", Text, primary_key=True),
    *(int_column(name) for name in ("call_count", "bytes_wire", "bytes_body")),
)

day_limits = Table(
    "day_limits",
    metadata,
    Column("xero_tenant_id", Text, primary_key=True),
    int_column("calls"),  # a day, as learnt from Xero's headers
    int_column("seen_at"),  # when they last told that it holds
)

contacts = _mirrored(
    "contacts",
    "xero_contact_id",
    text_column("name"),
    text_column("name_key"),  # casefolded: order and search
    text_column("status"),
    text_column("email"),
    text_column("contact_number"),
    text_column("account_number"),
    flag_column("is_customer"),
    flag_column("is_supplier"),
    text_column("default_currency"),
    text_column("merged_into"),
    text_column("details"),  # JSON: first and last name, phones, persons
    int_column("stated_outstanding", nullable=True),
    int_column("stated_overdue", nullable=True),
    indexes=(
        Index(None, "connection_id", "name_key", "xero_contact_id"),
        Index(None, "connection_id", "merged_into", sqlite_where=_MERGED, postgresql_where=_MERGED),
    ),
)

invoices = _mirrored(
    "invoices",
    "xero_invoice_id",
    text_column("xero_contact_id"),
    text_column("number"),
    text_column("reference"),
    text_column("status"),
    text_column("issued_on", nullable=True),
    text_column("due_on"),  # 9999-12-31 for none, so that it sorts last and is never overdue
    text_column("expected_payment_on", nullable=True),
    text_column("fully_paid_on", nullable=True),
    text_column("currency"),
    text_column("rate"),  # exact decimal text: never added up
    int_column("subtotal"),
    int_column("tax"),
    int_column("total"),
    int_column("due"),
    int_column("paid"),
    int_column("credited"),
    flag_column("sent_to_contact"),
    indexes=(
        Index(None, "connection_id", "xero_contact_id"),
        Index(None, "connection_id", "due_on", "xero_invoice_id"),
    ),
)

credits = _mirrored(  # noqa: A001 - the field's word; the builtin is never meant here
    "credits",
    "xero_credit_id",
    text_column("entity"),
    text_column("xero_contact_id"),
    text_column("number"),
    text_column("reference"),
    text_column("status"),
    text_column("issued_on", nullable=True),
    text_column("currency"),
    text_column("rate"),
    int_column("total"),
    int_column("remaining"),
    indexes=(Index(None, "connection_id", "xero_contact_id"),),
)

allocations = Table(
    "allocations",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("xero_credit_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True),  # Xero does not always give an allocation an id
    text_column("xero_allocation_id"),
    text_column("xero_invoice_id"),
    int_column("amount"),
    text_column("allocated_on", nullable=True),
    Index(None, "connection_id", "xero_invoice_id"),
    sqlite_with_rowid=False,
)

payments = _mirrored(
    "payments",
    "xero_payment_id",
    text_column("kind"),
    text_column("status"),
    text_column("xero_document_id"),
    text_column("xero_contact_id"),
    text_column("paid_on", nullable=True),
    int_column("amount"),
    int_column("bank_amount", nullable=True),
    text_column("currency"),
    text_column("rate"),
    text_column("reference"),
    text_column("xero_account_id"),
    text_column("xero_batch_payment_id"),
    flag_column("is_reconciled"),
    indexes=(Index(None, "connection_id", "xero_document_id"),),
)

accounts = _mirrored(
    "accounts",
    "xero_account_id",
    text_column("code"),
    text_column("name"),
    text_column("kind"),
    text_column("status"),
    text_column("currency"),
    flag_column("takes_payments"),
)
