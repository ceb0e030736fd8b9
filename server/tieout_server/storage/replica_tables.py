"""Tables of the processes that share the work: who is alive, which organisations are whose, and calls of guests."""

from sqlalchemy import Boolean, Column, ForeignKey, Index, LargeBinary, Table, Text, false, text

from tieout_server.storage.columns import int_column, metadata, text_column

replicas = Table(
    "replicas",  # the processes that share the work
    metadata,
    Column("id", Text, primary_key=True),
    text_column("name"),  # host:process, for people
    int_column("alive_until", nullable=True),  # by the database's clock; null: it is the only one
    Column(
        "revision", Text, nullable=False, server_default=text("''")
    ),  # that its code was written for; empty: before 0008
    Column("is_leaving", Boolean, nullable=False, server_default=false()),  # it is being stopped, and takes no more
)

homes = Table(
    "homes",  # the process that makes the calls to an organisation, all of them
    metadata,
    Column("xero_tenant_id", Text, primary_key=True),
    Column("replica_id", Text, ForeignKey("replicas.id", ondelete="SET NULL"), nullable=True),
    Column("windows", LargeBinary, nullable=False),  # what was last known of the organisation's limits
    Index(None, "replica_id"),
)

guest_calls = Table(
    "guest_calls",  # a process that is not the home asks it for leave to call
    metadata,
    Column("id", Text, primary_key=True),
    text_column("xero_tenant_id"),
    text_column("purpose"),
    Column("replica_id", Text, ForeignKey("replicas.id", ondelete="CASCADE"), nullable=False),  # who asks
    text_column("state"),
    text_column("outcome"),  # JSON: what became of the call, or until when there is no leave
    Index(None, "xero_tenant_id"),
    Index(None, "replica_id"),
)
