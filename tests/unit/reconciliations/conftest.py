"""Comparing runs on SQLite and on PostgreSQL; `around` is a connected organisation with its books."""

from databases import (
    database,
    database_url,
    migrated_postgres_url,
    postgres_server,
    postgres_url,
    sqlite_template,
    sqlite_url,
)
from open_organisation import around

__all__ = [
    "around",
    "database",
    "database_url",
    "migrated_postgres_url",
    "postgres_server",
    "postgres_url",
    "sqlite_template",
    "sqlite_url",
]
