"""Comparing runs on SQLite and on PostgreSQL."""

from databases import (
    database,
    database_url,
    migrated_postgres_url,
    postgres_server,
    postgres_url,
    sqlite_template,
    sqlite_url,
)

__all__ = [
    "database",
    "database_url",
    "migrated_postgres_url",
    "postgres_server",
    "postgres_url",
    "sqlite_template",
    "sqlite_url",
]
