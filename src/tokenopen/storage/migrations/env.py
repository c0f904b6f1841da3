"""Alembic's entry: runs the migrations on the connection that ``upgrade_schema`` hands over."""

from alembic import context

from tokenopen.storage.schema import with_postgresql_options

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=with_postgresql_options(),
    render_as_batch=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
