"""The first tables: connections, syncs, the event log, and the mirror of the documents."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
phase = "expand"


def upgrade() -> None:
    _connections()
    _syncs()
    _records()
    _mirror()
    _mirror_of_payments()
    _changes()
    _former_contacts()
    if op.get_bind().dialect.name == "sqlite":
        _sqlite_statistics()


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _int(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def _connections() -> None:
    """Connections, consents and the token sets of Xero users."""
    op.create_table(
        "connections",
        _text("id"),
        _text("merchant_id"),
        _text("state"),
        _text("health"),
        _text("reason"),
        _text("xero_tenant_id"),
        _text("membership_id"),
        _text("organisation"),
        _text("xero_user_id"),
        _text("authorised_by"),
        _text("scopes"),
        _text("choices"),
        _int("sync_ordinal"),
        _int("last_synced_at", nullable=True),
        _int("consented_at", nullable=True),
        _int("gap_from_at", nullable=True),
        _int("purge_up_to"),
        _int("created_at"),
        _int("updated_at"),
        sa.PrimaryKeyConstraint("id", name="pk_connections"),
    )
    op.create_index("ix_connections_xero_user_id", "connections", ["xero_user_id"])
    op.create_index("ix_connections_merchant_id_id", "connections", ["merchant_id", "id"])
    op.create_index(
        "uq_connections_connected",
        "connections",
        ["xero_tenant_id"],
        unique=True,
        sqlite_where=sa.text("state = 'CONNECTED'"),
        postgresql_where=sa.text("state = 'CONNECTED'"),
    )
    op.create_table(
        "authorisations",
        _text("state_hash"),
        _text("connection_id"),
        _bytes("code_verifier"),
        _text("return_url"),
        _int("expires_at"),
        _int("used_at", nullable=True),
        _text("granted"),
        _text("xero_user_id"),
        _int("ended_at", nullable=True),
        _int("created_at"),
        sa.PrimaryKeyConstraint("state_hash", name="pk_authorisations"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_authorisations_connection_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_authorisations_connection_id", "authorisations", ["connection_id"])
    op.create_table(
        "xero_users",
        _text("xero_user_id"),
        _bytes("access_token"),
        _bytes("refresh_token"),
        _int("access_expires_at"),
        _int("refresh_expires_at"),
        _text("scopes"),
        _int("generation"),
        _text("refreshing_by"),
        _int("refreshing_until", nullable=True),
        _int("leaving_until", nullable=True),
        _int("updated_at"),
        sa.PrimaryKeyConstraint("xero_user_id", name="pk_xero_users"),
    )
    op.create_table(
        "leavings",
        _text("connection_id"),
        _text("xero_user_id"),
        _text("membership_id"),
        _text("event_id"),
        _int("since"),
        sa.PrimaryKeyConstraint("connection_id", "xero_user_id", "membership_id", "event_id", name="pk_leavings"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_leavings_connection_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_leavings_xero_user_id", "leavings", ["xero_user_id"])


def _syncs() -> None:
    """Syncs with their lines, watermarks, durable work, and what is kept to repeat and to follow."""
    op.create_table(
        "syncs",
        _text("id"),
        _text("connection_id"),
        _int("ordinal"),
        _text("mode"),
        _text("state"),
        _text("phase"),
        _text("entities"),
        _text("requested_by"),
        _int("percent"),
        _int("eta_at", nullable=True),
        _text("waiting_by"),
        _int("waiting_until", nullable=True),
        _text("error"),
        _text("resolution"),
        _text("milestones"),
        _int("failures"),
        _int("call_count"),
        _int("bytes_wire"),
        _int("created_at"),
        _int("started_at", nullable=True),
        _int("ended_at", nullable=True),
        _int("updated_at"),
        sa.PrimaryKeyConstraint("id", name="pk_syncs"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_syncs_connection_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_syncs_connection_id_ordinal", "syncs", ["connection_id", "ordinal"], unique=True)
    op.create_table(
        "sync_lines",
        _text("sync_id"),
        _text("name"),
        _int("rank"),
        _bytes("body"),
        sa.PrimaryKeyConstraint("sync_id", "name", name="pk_sync_lines"),
        sa.ForeignKeyConstraint(["sync_id"], ["syncs.id"], name="fk_sync_lines_sync_id", ondelete="CASCADE"),
    )
    op.create_table(
        "watermarks",
        _text("connection_id"),
        _text("entity"),
        _int("watermark_at"),
        _int("last_read_at"),
        _int("row_count"),
        _int("next_read_at", nullable=True),
        _int("moved_at", nullable=True),
        sa.PrimaryKeyConstraint("connection_id", "entity", name="pk_watermarks"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_watermarks_connection_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "sweeps",
        _text("connection_id"),
        _text("item"),
        _int("due_at"),
        _int("page"),
        sa.PrimaryKeyConstraint("connection_id", "item", name="pk_sweeps"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_sweeps_connection_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "work",
        _text("kind"),
        _text("connection_id"),
        _text("lane"),
        _int("priority"),
        _int("due_at", nullable=True),
        _text("owner"),
        _int("leased_until", nullable=True),
        _int("fence"),
        sa.PrimaryKeyConstraint("kind", "connection_id", name="pk_work"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_work_connection_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_work_due_at", "work", ["due_at"])
    op.create_index("ix_work_leased_until", "work", ["leased_until"])


def _records() -> None:
    """The event log, the history of connections, answers by request_id, and the ledger of calls."""
    op.create_table(
        "events",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False),
        _text("connection_id"),
        _text("topic"),
        _text("subject"),
        _int("at"),
        _bytes("payload"),
        sa.PrimaryKeyConstraint("position", name="pk_events"),
    )
    op.create_index("ix_events_at", "events", ["at"])
    op.create_index("ix_events_topic_subject_position", "events", ["topic", "subject", "position"])
    op.create_table(
        "connection_events",
        sa.Column("id", sa.BigInteger(), nullable=False, autoincrement=False),
        _text("connection_id"),
        _text("kind"),
        _text("from_state"),
        _text("to_state"),
        _text("health"),
        _text("reason"),
        _text("actor"),
        _text("gap"),
        _int("occurred_at"),
        sa.PrimaryKeyConstraint("id", name="pk_connection_events"),
    )
    op.create_index("ix_connection_events_connection_id_id", "connection_events", ["connection_id", "id"])
    op.create_table(
        "event_counter",
        sa.Column("id", sa.Integer(), nullable=False),
        _int("last"),
        _int("pruned"),
        sa.PrimaryKeyConstraint("id", name="pk_event_counter"),
    )
    op.create_table(
        "webhook_events",
        _text("connection_id"),
        _text("entity"),
        _text("xero_id"),
        sa.Column("follows", sa.Integer(), nullable=False),
        _text("kind"),
        _int("event_at"),
        _int("received_at"),
        _int("due_at"),
        _int("tries"),
        sa.PrimaryKeyConstraint("connection_id", "entity", "xero_id", "follows", name="pk_webhook_events"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_webhook_events_connection_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_webhook_events_received_at", "webhook_events", ["received_at"])
    op.create_table(
        "webhook_arrivals",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        _bytes("notices"),
        _int("arrived_at"),
        sa.PrimaryKeyConstraint("number", name="pk_webhook_arrivals"),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        _int("heard_at"),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
    )
    op.create_table(
        "requests",
        _text("method"),
        _text("request_id"),
        _text("digest"),
        _bytes("answer"),
        _int("created_at"),
        sa.PrimaryKeyConstraint("method", "request_id", name="pk_requests"),
    )
    op.create_index("ix_requests_created_at", "requests", ["created_at"])
    op.create_table(
        "calls",
        _text("xero_tenant_id"),
        _text("day"),
        _text("purpose"),
        _int("call_count"),
        _int("bytes_wire"),
        _int("bytes_body"),
        sa.PrimaryKeyConstraint("xero_tenant_id", "day", "purpose", name="pk_calls"),
    )
    op.create_table(
        "day_limits",
        _text("xero_tenant_id"),
        _int("calls"),
        _int("seen_at"),
        sa.PrimaryKeyConstraint("xero_tenant_id", name="pk_day_limits"),
    )


def _mirror() -> None:
    """Documents as Xero stated them."""
    is_merged = sa.text("merged_into <> ''")
    op.create_table(
        "contacts",
        _text("connection_id"),
        _text("xero_contact_id"),
        _text("name"),
        _text("name_key"),
        _text("status"),
        _text("email"),
        _text("contact_number"),
        _text("account_number"),
        _flag("is_customer"),
        _flag("is_supplier"),
        _text("default_currency"),
        _text("merged_into"),
        _text("details"),
        _int("stated_outstanding", nullable=True),
        _int("stated_overdue", nullable=True),
        _int("xero_updated_at"),
        _int("seen_in"),
        _int("changed_at"),
        _int("change_number"),
        _flag("was_here"),
        sa.PrimaryKeyConstraint("connection_id", "xero_contact_id", name="pk_contacts"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_contacts_connection_id", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_contacts_connection_id_merged_into",
        "contacts",
        ["connection_id", "merged_into"],
        sqlite_where=is_merged,
        postgresql_where=is_merged,
    )
    op.create_index(
        "ix_contacts_connection_id_name_key_xero_contact_id",
        "contacts",
        ["connection_id", "name_key", "xero_contact_id"],
    )
    op.create_table(
        "invoices",
        _text("connection_id"),
        _text("xero_invoice_id"),
        _text("xero_contact_id"),
        _text("number"),
        _text("reference"),
        _text("status"),
        _text("issued_on", nullable=True),
        _text("due_on"),
        _text("expected_payment_on", nullable=True),
        _text("fully_paid_on", nullable=True),
        _text("currency"),
        _text("rate"),
        _int("subtotal"),
        _int("tax"),
        _int("total"),
        _int("due"),
        _int("paid"),
        _int("credited"),
        _flag("sent_to_contact"),
        _int("xero_updated_at"),
        _int("seen_in"),
        _int("changed_at"),
        _int("change_number"),
        _flag("was_here"),
        sa.PrimaryKeyConstraint("connection_id", "xero_invoice_id", name="pk_invoices"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_invoices_connection_id", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_invoices_connection_id_due_on_xero_invoice_id", "invoices", ["connection_id", "due_on", "xero_invoice_id"]
    )
    op.create_index("ix_invoices_connection_id_xero_contact_id", "invoices", ["connection_id", "xero_contact_id"])
    op.create_table(
        "credits",
        _text("connection_id"),
        _text("xero_credit_id"),
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
        _int("xero_updated_at"),
        _int("seen_in"),
        _int("changed_at"),
        _int("change_number"),
        _flag("was_here"),
        sa.PrimaryKeyConstraint("connection_id", "xero_credit_id", name="pk_credits"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_credits_connection_id", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_credits_connection_id_xero_contact_id", "credits", ["connection_id", "xero_contact_id"])


def _mirror_of_payments() -> None:
    """Payments, what they are booked to, and how credits were set against invoices."""
    op.create_table(
        "allocations",
        _text("connection_id"),
        _text("xero_credit_id"),
        sa.Column("position", sa.Integer(), nullable=False),
        _text("xero_allocation_id"),
        _text("xero_invoice_id"),
        _int("amount"),
        _text("allocated_on", nullable=True),
        sa.PrimaryKeyConstraint("connection_id", "xero_credit_id", "position", name="pk_allocations"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_allocations_connection_id", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_allocations_connection_id_xero_invoice_id", "allocations", ["connection_id", "xero_invoice_id"])
    op.create_table(
        "payments",
        _text("connection_id"),
        _text("xero_payment_id"),
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
        _int("xero_updated_at"),
        _int("seen_in"),
        _int("changed_at"),
        _int("change_number"),
        _flag("was_here"),
        sa.PrimaryKeyConstraint("connection_id", "xero_payment_id", name="pk_payments"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_payments_connection_id", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_payments_connection_id_xero_document_id", "payments", ["connection_id", "xero_document_id"])
    op.create_table(
        "accounts",
        _text("connection_id"),
        _text("xero_account_id"),
        _text("code"),
        _text("name"),
        _text("kind"),
        _text("status"),
        _text("currency"),
        _flag("takes_payments"),
        _int("xero_updated_at"),
        _int("seen_in"),
        _int("changed_at"),
        _int("change_number"),
        _flag("was_here"),
        sa.PrimaryKeyConstraint("connection_id", "xero_account_id", name="pk_accounts"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_accounts_connection_id", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )


def _changes() -> None:
    """In which order the mirror changed, and what brought each change."""
    for table in ("contacts", "invoices", "credits", "payments", "accounts"):
        op.create_index(f"ix_{table}_connection_id_change_number", table, ["connection_id", "change_number"])
    op.create_table(
        "change_counters",
        _text("connection_id"),
        _int("last"),
        _text("sync_id"),
        _int("since"),
        sa.PrimaryKeyConstraint("connection_id", name="pk_change_counters"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_change_counters_connection_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "change_runs",
        _text("connection_id"),
        _int("since"),
        _text("sync_id"),
        sa.PrimaryKeyConstraint("connection_id", "since", name="pk_change_runs"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_change_runs_connection_id", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )


def _former_contacts() -> None:
    """A document that moves to another contact changes the balance of the one it leaves, to which nothing leads then.

    So that contact is marked as changed with it, where the change is made: only there the former value is known.
    """
    mark = (
        "UPDATE contacts SET change_number = new.change_number, changed_at = new.changed_at, "
        "was_here = was_here OR old.was_here "  # it may have been a customer by this document alone
        "WHERE connection_id = old.connection_id AND xero_contact_id = old.xero_contact_id"
    )
    moves = "WHEN (old.xero_contact_id <> new.xero_contact_id)"
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if not is_sqlite:
        op.execute(
            "CREATE FUNCTION mark_former_contact() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {mark}; RETURN NULL; END $$"
        )
    act = f"BEGIN {mark}; END" if is_sqlite else "EXECUTE FUNCTION mark_former_contact()"
    for table in ("invoices", "credits"):
        after = f"CREATE TRIGGER {table}_leave_a_contact AFTER UPDATE OF xero_contact_id ON {table}"
        op.execute(f"{after} FOR EACH ROW {moves} {act}")


def _sqlite_statistics() -> None:
    """Tell SQLite how its keys are spread: many documents to a connection, few to a contact, an invoice or a day.

    Without that it takes every first column of a key for nearly unique, and reads a whole organisation to find the
    documents of one contact (SQLite, Query planner, Manual control of query plans using sqlite_stat tables).
    """
    op.execute("ANALYZE")  # makes the table
    op.execute(
        "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES "
        "('contacts', 'contacts', '100000 2000 1'), "
        "('contacts', 'ix_contacts_connection_id_change_number', '100000 2000 50'), "
        "('contacts', 'ix_contacts_connection_id_merged_into', '1000 20 1'), "
        "('contacts', 'ix_contacts_connection_id_name_key_xero_contact_id', '100000 2000 2 1'), "
        "('invoices', 'invoices', '1000000 20000 1'), "
        "('invoices', 'ix_invoices_connection_id_change_number', '1000000 20000 50'), "
        "('invoices', 'ix_invoices_connection_id_xero_contact_id', '1000000 20000 10'), "
        "('invoices', 'ix_invoices_connection_id_due_on_xero_invoice_id', '1000000 20000 20 1'), "
        "('credits', 'credits', '50000 1000 1'), "
        "('credits', 'ix_credits_connection_id_change_number', '50000 1000 50'), "
        "('credits', 'ix_credits_connection_id_xero_contact_id', '50000 1000 3'), "
        "('allocations', 'allocations', '50000 1000 2 1'), "
        "('allocations', 'ix_allocations_connection_id_xero_invoice_id', '50000 1000 2'), "
        "('payments', 'payments', '1000000 20000 1'), "
        "('payments', 'ix_payments_connection_id_change_number', '1000000 20000 50'), "
        "('payments', 'ix_payments_connection_id_xero_document_id', '1000000 20000 2')"
    )
    op.execute("ANALYZE sqlite_schema")  # loads what was written
