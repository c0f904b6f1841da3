"""Ids of what providers keep from replies, with the account that made them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Carry the change out."""
    op.create_table(
        "provider_objects",
        sa.Column("account_id", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("upstream_id", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("call_id", TEXT, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "id", name=op.f("pk_provider_objects")),
        sqlite_with_rowid=False,
    )
