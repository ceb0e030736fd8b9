"""What alembic runs: the steps, on the connection and in the transaction that `storage.migrate` opened."""

from alembic import context

from tieout_server.storage.columns import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
