"""The former secret of an API key that was rotated, and until when it works."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Carry the change out."""
    op.add_column("api_keys", sa.Column("former_key_hash", sa.LargeBinary(), nullable=True))
    op.add_column("api_keys", sa.Column("former_until_ms", sa.BigInteger(), nullable=True))
    op.create_index("ix_api_keys_former_key_hash", "api_keys", ["former_key_hash"], unique=True)
