"""The tables of callers and of what they did; units are those of `tables`."""

from sqlalchemy import Column, ForeignKey, Index, LargeBinary, Table, Text

from tieout_server.storage.columns import int_column, metadata, text_column

callers = Table(
    "callers",
    metadata,
    Column("name", Text, primary_key=True),  # never given to another one: what is on record names it
    text_column("roles"),  # words
    text_column("merchants", nullable=True),  # JSON list; null: all merchants
    text_column("certificate", nullable=True),  # the name in the certificate by which it shows itself
    int_column("created_at"),
    int_column("revoked_at", nullable=True),
    Index(None, "certificate", unique=True),
)

caller_keys = Table(
    "caller_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("caller", Text, ForeignKey("callers.name", ondelete="CASCADE"), nullable=False),
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of the secret, which is nowhere
    int_column("created_at"),
    int_column("expires_at", nullable=True),
    int_column("revoked_at", nullable=True),
    Index(None, "caller"),
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Text, primary_key=True),
    int_column("at"),
    text_column("caller"),
    text_column("authenticated_by"),
    text_column("method"),
    text_column("merchant_id"),
    text_column("connection_id"),
    text_column("subject"),  # the sync, export, discrepancy, … it was about, where it names one
    text_column("request_id"),
    text_column("peer"),
    text_column("status"),  # empty: it has not ended, or its process ended before
    text_column("reason"),
    Index(None, "at", "id"),
    Index(None, "connection_id", "at"),
    Index(None, "merchant_id", "at"),
    Index(None, "caller", "at"),
)
