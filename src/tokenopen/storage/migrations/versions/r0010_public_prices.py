"""The setting that shows groups and prices to people who are not signed in."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Carry the change out."""
    # An empty database gets every setting at its first start.
    op.execute(
        "INSERT INTO platform_settings (name, value) "
        "SELECT 'public_prices', 'no' FROM platform_settings WHERE name = 'time_zone'"
    )
