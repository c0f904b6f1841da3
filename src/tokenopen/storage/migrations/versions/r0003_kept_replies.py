"""Replies that are kept for calls with an Idempotency-Key."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Carry the change out."""
    op.create_table(
        "kept_replies",
        sa.Column("account_id", TEXT, nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("idempotency_key", TEXT, nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("call_id", TEXT, nullable=False),
        sa.Column("claimed_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("headers", TEXT, nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "key_id", "idempotency_key", name=op.f("pk_kept_replies")),
    )
    op.create_index(op.f("ix_kept_replies_claimed_at_ms"), "kept_replies", ["claimed_at_ms"])
