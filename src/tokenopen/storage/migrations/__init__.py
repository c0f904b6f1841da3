"""Migrations: one file a change of the schema, carried out in order by alembic."""
