"""The processes that share the work: who is alive, and which organisations are whose."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
phase = "contract"  # it drops work.leased_until


def upgrade() -> None:
    op.drop_index("ix_work_leased_until", "work")
    op.drop_index("ix_work_due_at", "work")
    op.drop_column("work", "leased_until")
    op.create_table(
        "replicas",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("alive_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_replicas"),
    )
    op.create_table(
        "homes",
        sa.Column("xero_tenant_id", sa.Text(), nullable=False),
        sa.Column("replica_id", sa.Text(), nullable=True),
        sa.Column("windows", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("xero_tenant_id", name="pk_homes"),
        sa.ForeignKeyConstraint(["replica_id"], ["replicas.id"], name="fk_homes_replica_id", ondelete="SET NULL"),
    )
    op.create_index("ix_homes_replica_id", "homes", ["replica_id"])
    op.create_table(
        "guest_calls",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("xero_tenant_id", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("replica_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_guest_calls"),
        sa.ForeignKeyConstraint(["replica_id"], ["replicas.id"], name="fk_guest_calls_replica_id", ondelete="CASCADE"),
    )
    op.create_index("ix_guest_calls_xero_tenant_id", "guest_calls", ["xero_tenant_id"])
    op.create_index("ix_guest_calls_replica_id", "guest_calls", ["replica_id"])
    free, owned = sa.text("owner = '' AND due_at IS NOT NULL"), sa.text("owner <> ''")
    op.create_index("ix_work_due_at", "work", ["due_at"], sqlite_where=free, postgresql_where=free)
    op.create_index("ix_work_owner", "work", ["owner"], sqlite_where=owned, postgresql_where=owned)
