"""The tables of where a database comes from, and of what was lost on the way; units are those of `tables`."""

from sqlalchemy import BigInteger, Column, Integer, Table

from tieout_server.storage.columns import int_column, metadata, text_column

log_gaps = Table(
    "log_gaps",  # positions that were given out only in a future that was lost
    metadata,
    Column("behind", BigInteger, primary_key=True, autoincrement=False),
    int_column("up_to"),  # … and below this one
)

origin = Table(
    "origin",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    text_column("identity"),  # which database this is, by its own word; another one's in a copy
    int_column("restored_at", nullable=True),  # when it was last found to be a copy
    int_column("known_until", nullable=True),  # when the last thing happened that the copy knew
)
