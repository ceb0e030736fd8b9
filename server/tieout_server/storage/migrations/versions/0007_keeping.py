"""Where a database comes from, what a restored one lost, and indices by which what is old is found."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
phase = "expand"
indexes = {
    "ix_syncs_ended_at": ("syncs", ["ended_at"]),
    "ix_reconciliations_ended_at": ("reconciliations", ["ended_at"]),
    "ix_comparisons_at": ("comparisons", ["at"]),
    "ix_discrepancy_events_at": ("discrepancy_events", ["at"]),
    "ix_calls_day": ("calls", ["day"]),
}
"""On tables that may be large: PostgreSQL builds them beside whoever writes."""


def upgrade() -> None:
    op.create_table(
        "origin",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("restored_at", sa.BigInteger(), nullable=True),
        sa.Column("known_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_origin"),
    )
    op.create_table(
        "log_gaps",
        sa.Column("behind", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("up_to", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("behind", name="pk_log_gaps"),
    )
    op.add_column("change_counters", sa.Column("gap_behind", sa.BigInteger(), nullable=True))
    op.add_column("change_counters", sa.Column("gap_up_to", sa.BigInteger(), nullable=True))
