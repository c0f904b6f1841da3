"""What is said of flagged calls, what was adjusted for them, and what calls cost the operator."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Carry the change out."""
    for name, kind in (
        ("flag_detail", TEXT),
        ("reviewed_at_ms", sa.BigInteger()),
        ("reviewed_by", TEXT),
        ("adjusted", sa.BigInteger()),
        ("cost", sa.BigInteger()),
        ("cost_source", TEXT),
    ):
        op.add_column("calls", sa.Column(name, kind, nullable=True))
