"""Schema of what providers keep from replies."""

from sqlalchemy import BigInteger, Column, Table

from tokenopen.storage.schema_base import Text, metadata

# Whose call made what a provider keeps (storage/provider_object.py), and the upstream that holds it.
provider_objects = Table(
    "provider_objects",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("upstream_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("call_id", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
