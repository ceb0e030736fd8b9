"""What was on its way into Xero when its export was erased."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
phase = "expand"


def upgrade() -> None:
    op.create_table(
        "export_leftovers",
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("xero_tenant_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("marker", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("draft", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("look_from", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection_id", "marker", name="pk_export_leftovers"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_export_leftovers_connection_id", ondelete="CASCADE"
        ),
    )
    op.create_index(
        "ix_export_leftovers_xero_tenant_id_fingerprint", "export_leftovers", ["xero_tenant_id", "fingerprint"]
    )
