"""Reconciliation: discrepancies with their history, comparisons, the caller's balances, and cases."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
phase = "expand"


def upgrade() -> None:
    _discrepancies()
    _comparisons()
    _reconciliations()
    _of_callers()


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _int(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _of_connection(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["connection_id"], ["connections.id"], name=f"fk_{table}_connection_id", ondelete="CASCADE"
    )


def _discrepancies() -> None:
    """What is off balance, and what happened to it."""
    op.create_table(
        "discrepancies",
        _text("id"),
        _text("connection_id"),
        _text("xero_contact_id"),
        _text("currency"),
        _int("ours"),
        _int("xero"),
        _text("place"),
        _text("cause"),
        _text("state"),
        _text("body"),
        _text("note"),
        _int("opened_at"),
        _int("updated_at"),
        _int("resolved_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_discrepancies"),
        _of_connection("discrepancies"),
    )
    op.create_index(
        "ix_discrepancies_connection_id_xero_contact_id_currency",
        "discrepancies",
        ["connection_id", "xero_contact_id", "currency"],
        unique=True,
    )
    op.create_index("ix_discrepancies_connection_id_place_id", "discrepancies", ["connection_id", "place", "id"])
    op.create_table(
        "discrepancy_events",
        _text("discrepancy_id"),
        sa.Column("number", sa.Integer(), nullable=False),
        _text("state"),
        _text("sentence"),
        _text("actor"),
        _int("difference"),
        _int("at"),
        sa.PrimaryKeyConstraint("discrepancy_id", "number", name="pk_discrepancy_events"),
        sa.ForeignKeyConstraint(
            ["discrepancy_id"],
            ["discrepancies.id"],
            name="fk_discrepancy_events_discrepancy_id",
            ondelete="CASCADE",
        ),
    )


def _comparisons() -> None:
    """Both balances of a customer over time, and how far changes were compared."""
    op.create_table(
        "comparisons",
        _text("connection_id"),
        _text("xero_contact_id"),
        _text("currency"),
        _int("at"),
        _int("ours"),
        _int("xero"),
        _text("source"),
        sa.PrimaryKeyConstraint("connection_id", "xero_contact_id", "currency", "at", name="pk_comparisons"),
        _of_connection("comparisons"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "compared",
        _text("connection_id"),
        _int("up_to"),
        _text("suspects"),
        sa.PrimaryKeyConstraint("connection_id", name="pk_compared"),
        _of_connection("compared"),
    )


def _reconciliations() -> None:
    """Runs over whole organisations."""
    op.create_table(
        "reconciliations",
        _text("id"),
        _text("connection_id"),
        _int("ordinal"),
        _text("state"),
        _int("max_calls"),
        _int("call_count"),
        _int("customers"),
        _int("compared"),
        _int("agreeing"),
        _int("off_balance"),
        _int("self_healed"),
        _int("left_over"),
        _int("percent"),
        _text("error_sentence"),
        _text("totals"),
        _int("failures"),
        sa.Column("work", sa.LargeBinary(), nullable=False),
        _int("created_at"),
        _int("started_at", nullable=True),
        _int("ended_at", nullable=True),
        _int("updated_at"),
        sa.PrimaryKeyConstraint("id", name="pk_reconciliations"),
        _of_connection("reconciliations"),
    )
    op.create_index(
        "ix_reconciliations_connection_id_ordinal", "reconciliations", ["connection_id", "ordinal"], unique=True
    )


def _of_callers() -> None:
    """What callers told: the balances of their own books, and differences that were not flagged."""
    op.create_table(
        "platform_balances",
        _text("connection_id"),
        _text("named"),
        _text("currency"),
        _int("balance"),
        _int("as_of"),
        sa.PrimaryKeyConstraint("connection_id", "named", "currency", name="pk_platform_balances"),
        _of_connection("platform_balances"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cases",
        _text("id"),
        _text("connection_id"),
        _text("description"),
        _text("customer_ids"),
        _text("discrepancy_ids"),
        _text("sentence"),
        _int("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_cases"),
        _of_connection("cases"),
    )
    op.create_index("ix_cases_connection_id_created_at", "cases", ["connection_id", "created_at"])
