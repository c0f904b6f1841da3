"""What the provider behind an upstream takes, as a factor on the models' prices here."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Carry the change out."""
    op.add_column("upstreams", sa.Column("cost_multiplier_ppm", sa.BigInteger(), nullable=True))
