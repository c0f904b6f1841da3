"""Until when a worker may admit, apart from how long its lease keeps its running calls alive."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Carry the change out."""
    op.add_column("workers", sa.Column("admits_until_ms", sa.BigInteger(), nullable=True))
