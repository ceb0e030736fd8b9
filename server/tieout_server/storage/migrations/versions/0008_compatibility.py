"""Which programs may work with the database, and what each replica runs: upgrades while others go on."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
phase = "expand"


def upgrade() -> None:
    op.create_table(
        "compatibility",
        sa.Column("oldest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("oldest", name="pk_compatibility"),
    )
    op.add_column("replicas", sa.Column("revision", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("replicas", sa.Column("is_leaving", sa.Boolean(), nullable=False, server_default=sa.false()))
