"""What the tables are made of: the kinds of column, and the metadata that knows all tables."""

from sqlalchemy import BigInteger, Boolean, Column, ColumnElement, ForeignKey, MetaData, Text, literal_column

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

NOTHING: ColumnElement[str] = literal_column("''")
"""For what an index has as its condition: with a value bound for it SQLite plans a query anew each time."""


def text_column(name: str, *, nullable: bool = False) -> Column[str]:
    """Text; empty where nothing is known, unless null says something else."""
    return Column(name, Text, nullable=nullable, default=None if nullable else "")


def int_column(name: str, *, nullable: bool = False) -> Column[int]:
    """A 64-bit number: an amount, an instant, a count."""
    return Column(name, BigInteger, nullable=nullable, default=None if nullable else 0)


def flag_column(name: str) -> Column[bool]:
    """Yes or no."""
    return Column(name, Boolean, nullable=False, default=False)


def connection_column() -> Column[str]:
    """Whose row it is: it goes with its connection."""
    return Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), nullable=False)
