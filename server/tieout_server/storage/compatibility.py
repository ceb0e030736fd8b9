"""Which programs may work with a database, told by the database itself, so that older ones need not know newer steps.

`oldest` is the revision that a program must have been written for at least: the newest step that took something away.
"""

from collections.abc import Sequence

from sqlalchemy import Column, Connection, Table, Text, delete, func, insert, inspect, literal_column, or_, select

from tieout_server.storage.columns import metadata
from tieout_server.storage.replica_tables import replicas

compatibility = Table("compatibility", metadata, Column("oldest", Text, primary_key=True))  # one row
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


def oldest(connection: Connection) -> str | None:
    """The oldest program that may work with this database; None where that was never noted."""
    if not inspect(connection).has_table(compatibility.name):
        return None
    return connection.execute(select(compatibility.c.oldest)).scalar_one_or_none()


def note_oldest(connection: Connection, revision: str) -> None:
    """Keep programs that were written for an earlier revision from working with this database."""
    if inspect(connection).has_table(compatibility.name):
        connection.execute(delete(compatibility))
        connection.execute(insert(compatibility).values(oldest=revision))


def older_replicas(connection: Connection, revision: str) -> Sequence[str]:
    """The replicas that are alive (host:process) and were written for an earlier revision. SQLite has no replicas."""
    look = inspect(connection)
    if connection.dialect.name == "sqlite" or not look.has_table(replicas.name):
        return ()
    known = {column["name"] for column in look.get_columns(replicas.name)}
    is_older = replicas.c.revision < revision if "revision" in known else literal_column("true")
    is_alive = or_(replicas.c.alive_until.is_(None), replicas.c.alive_until > literal_column(_NOW))
    found = select(func.min(replicas.c.name)).where(is_older, is_alive).group_by(replicas.c.id)
    return sorted(connection.execute(found).scalars())
