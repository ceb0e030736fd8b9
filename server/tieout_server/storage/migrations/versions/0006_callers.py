"""Who may call, and what they did."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
phase = "expand"


def upgrade() -> None:
    op.create_table(
        "callers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("merchants", sa.Text(), nullable=True),
        sa.Column("certificate", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_callers"),
    )
    op.create_index("ix_callers_certificate", "callers", ["certificate"], unique=True)
    op.create_table(
        "caller_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_caller_keys"),
        sa.ForeignKeyConstraint(["caller"], ["callers.name"], name="fk_caller_keys_caller", ondelete="CASCADE"),
    )
    op.create_index("ix_caller_keys_caller", "caller_keys", ["caller"])
    text = ("caller", "authenticated_by", "method", "merchant_id", "connection_id", "subject", "request_id", "peer")
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in (*text, "status", "reason")),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
    )
    op.create_index("ix_audit_events_at_id", "audit_events", ["at", "id"])
    for name in ("connection_id", "merchant_id", "caller"):
        op.create_index(f"ix_audit_events_{name}_at", "audit_events", [name, "at"])
