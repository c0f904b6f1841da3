"""What the limits of tokens a minute and of concurrent calls need; calls keep those of their own terms."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
HELD = sa.text("state = 'held'")


def upgrade() -> None:
    """Carry the change out.

    On PostgreSQL the index is built beside running workers: few calls are held, but all are read for it. It
    comes first, since what was done before it would stay where it is cut short.
    """
    if op.get_bind().dialect.name == "postgresql":
        with op.get_context().autocommit_block():
            op.drop_index("ix_calls_held_in_group", "calls", if_exists=True, postgresql_concurrently=True)
            _create_index(concurrently=True)
    else:
        _create_index(concurrently=False)
    op.create_table(
        "token_windows",
        sa.Column("account_id", TEXT, nullable=False),
        sa.Column("group_id", TEXT, nullable=False),
        sa.Column("counts", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "group_id", name=op.f("pk_token_windows")),
    )
    op.add_column("calls", sa.Column("tokens_per_minute", sa.BigInteger(), nullable=True))
    op.add_column("calls", sa.Column("concurrent_calls", sa.BigInteger(), nullable=True))
    op.drop_index("ix_calls_held", "calls")


def _create_index(*, concurrently: bool) -> None:
    op.create_index(
        "ix_calls_held_in_group",
        "calls",
        ["account_id", "group_id"],
        sqlite_where=HELD,
        postgresql_where=HELD,
        postgresql_concurrently=concurrently,
    )
