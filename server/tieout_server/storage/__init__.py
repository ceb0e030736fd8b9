"""Where everything is kept: one store per subject, over SQLite or PostgreSQL."""
