"""What the message of a refused call is made of, so that a page can say it in other words."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Carry the change out."""
    op.add_column("refused_calls", sa.Column("facts", TEXT, nullable=True))
