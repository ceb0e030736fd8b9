"""The columns that tables are made of, and the metadata that knows all tables."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, MetaData, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def text(name: str, *, nullable: bool = False) -> Column[str]:
    """Text, empty by default, or none."""
    return Column(name, Text, nullable=nullable, default=None if nullable else "")


def integer(name: str, *, nullable: bool = False) -> Column[int]:
    """A whole number of 64 bits, 0 by default, or none."""
    return Column(name, BigInteger, nullable=nullable, default=None if nullable else 0)


def flag(name: str) -> Column[bool]:
    """Yes or no; no by default."""
    return Column(name, Boolean, nullable=False, default=False)


def connection() -> Column[str]:
    """Whose row it is; it goes with its connection."""
    return Column("connection_id", Text, ForeignKey("connections.id", ondelete="CASCADE"), nullable=False)
