"""When a kept reply was given again, after which its charge stands."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Carry the change out."""
    op.add_column("kept_replies", sa.Column("replayed_at_ms", sa.BigInteger(), nullable=True))
