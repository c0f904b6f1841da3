"""Everybody's usage by key and week, for charts over months; the job that folds usage fills it.

Older workers go on folding hours and days: newer ones make weeks of days, and have a mark of their own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Carry the change out."""
    op.create_table(
        "key_usage_weeks",
        sa.Column("week", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("account_id", TEXT, nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("calls", "input_units", "output_units", "charge", "absorbed")
        ),
        sa.PrimaryKeyConstraint("week", "account_id", "key_id", name=op.f("pk_key_usage_weeks")),
        sqlite_with_rowid=False,
    )
