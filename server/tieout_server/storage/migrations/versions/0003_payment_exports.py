"""Payment exports: payments, what is written to Xero for them, reversals, settings and notes."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
phase = "expand"


def upgrade() -> None:
    _exports()
    _around_an_export()
    _steps()
    _reversals()
    _settings()


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _int(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _of_connection(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["connection_id"], ["connections.id"], name=f"fk_{table}_connection_id", ondelete="CASCADE"
    )


def _of_export(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["export_id"], ["payment_exports.id"], name=f"fk_{table}_export_id", ondelete="CASCADE"
    )


def _index(table: str, *columns: str, unique: bool = False) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns), unique=unique)


def _exports() -> None:
    """The payments, and where each stands."""
    op.create_table(
        "payment_exports",
        _text("id"),
        _text("connection_id"),
        _text("payment_id"),
        _text("fingerprint"),
        _int("accepted_in"),
        _text("body"),
        _text("currency"),
        _text("xero_status"),
        _text("reason"),
        _text("error"),
        _text("records"),
        _int("attempts"),
        _int("due_at", nullable=True),
        _int("verify_at", nullable=True),
        _int("created_at"),
        _int("updated_at"),
        _int("exported_at", nullable=True),
        _int("verified_at", nullable=True),
        _text("dismissal_note"),
        _text("dismissed_by"),
        sa.PrimaryKeyConstraint("id", name="pk_payment_exports"),
        _of_connection("payment_exports"),
    )
    _index("payment_exports", "connection_id", "payment_id", unique=True)
    _index("payment_exports", "connection_id", "created_at", "id")
    _index("payment_exports", "connection_id", "xero_status", "created_at", "id")
    _index("payment_exports", "connection_id", "due_at")
    _index("payment_exports", "connection_id", "verify_at")


def _around_an_export() -> None:
    """What it pays, what it became, what happened to it, and what is to be noted."""
    op.create_table(
        "export_lines",
        _text("export_id"),
        sa.Column("position", sa.Integer(), nullable=False),
        _text("connection_id"),
        _text("xero_invoice_id"),
        _text("invoice_number"),
        sa.PrimaryKeyConstraint("export_id", "position", name="pk_export_lines"),
        _of_export("export_lines"),
        _of_connection("export_lines"),
    )
    _index("export_lines", "connection_id", "xero_invoice_id")
    _index("export_lines", "connection_id", "invoice_number")
    op.create_table(
        "export_links",
        _text("export_id"),
        _text("xero_id"),
        _text("connection_id"),
        sa.Column("is_gone", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("export_id", "xero_id", name="pk_export_links"),
        _of_export("export_links"),
        _of_connection("export_links"),
    )
    _index("export_links", "connection_id", "xero_id")
    op.create_table(
        "export_events",
        _text("export_id"),
        sa.Column("number", sa.Integer(), nullable=False),
        _text("xero_status"),
        _text("sentence"),
        _text("actor"),
        _text("error"),
        _int("at"),
        sa.PrimaryKeyConstraint("export_id", "number", name="pk_export_events"),
        _of_export("export_events"),
    )
    op.create_table(
        "export_notes",
        _text("export_id"),
        _text("xero_invoice_id"),
        _text("connection_id"),
        _text("text"),
        _text("idempotency_key"),
        _int("due_at"),
        _int("first_tried_at", nullable=True),
        sa.PrimaryKeyConstraint("export_id", "xero_invoice_id", name="pk_export_notes"),
        _of_export("export_notes"),
        _of_connection("export_notes"),
    )
    _index("export_notes", "connection_id", "due_at")


def _steps() -> None:
    """What is written to Xero, one row for each write."""
    op.create_table(
        "export_steps",
        _text("id"),
        _text("connection_id"),
        _text("export_id"),
        _text("reversal_id"),
        _int("number"),
        _text("draft"),
        _text("marker"),
        _text("state"),
        _text("idempotency_key"),
        _int("sent_at", nullable=True),
        _int("look_from", nullable=True),
        _text("xero_id"),
        _text("parts"),
        sa.PrimaryKeyConstraint("id", name="pk_export_steps"),
        _of_connection("export_steps"),
        _of_export("export_steps"),
    )
    _index("export_steps", "connection_id", "state")
    _index("export_steps", "connection_id", "marker")
    _index("export_steps", "export_id")


def _reversals() -> None:
    """What is taken back."""
    op.create_table(
        "export_reversals",
        _text("id"),
        _text("connection_id"),
        _text("export_id"),
        _text("reversal_id"),
        _text("fingerprint"),
        _text("kind"),
        _int("amount"),
        _text("currency"),
        _text("reason"),
        _text("reversed_on"),
        _text("xero_status"),
        _text("error"),
        _text("records"),
        _int("due_at", nullable=True),
        _int("created_at"),
        _int("completed_at", nullable=True),
        _int("updated_at"),
        sa.PrimaryKeyConstraint("id", name="pk_export_reversals"),
        _of_connection("export_reversals"),
        _of_export("export_reversals"),
    )
    _index("export_reversals", "connection_id", "reversal_id", unique=True)
    _index("export_reversals", "connection_id", "due_at")
    _index("export_reversals", "export_id")


def _settings() -> None:
    """Where payments go."""
    op.create_table(
        "export_settings",
        _text("connection_id"),
        _text("body"),
        _int("revision"),
        _int("updated_at"),
        sa.PrimaryKeyConstraint("connection_id", name="pk_export_settings"),
        _of_connection("export_settings"),
    )
