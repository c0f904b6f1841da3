"""Indexes and rollups that keep lists and charts fast however many calls there are; what retention drops.

On PostgreSQL the indexes are built beside running workers, outside any transaction: a build that is cut short
leaves an index that counts for nothing, and is begun anew. They come first, so that nothing else is left.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NOT_CHARGED = "state IN ('voided', 'expired')"
NOT_A_CHARGE = "kind <> 'charge'"
INDEXES = (
    ("ix_calls_key_id_id", "calls", ("key_id", "id"), None),
    ("ix_calls_model_id", "calls", ("model", "id"), None),
    ("ix_calls_state_id", "calls", ("state", "id"), NOT_CHARGED),
    ("ix_calls_account_id_state_id", "calls", ("account_id", "state", "id"), NOT_CHARGED),
    ("ix_calls_flagged", "calls", ("id",), "flag IS NOT NULL"),
    ("ix_calls_absorbed", "calls", ("id",), "absorbed > 0"),
    ("ix_ledger_entries_kind_id", "ledger_entries", ("kind", "id"), NOT_A_CHARGE),
    (
        "ix_ledger_entries_account_id_kind_number",
        "ledger_entries",
        ("account_id", "kind", "number"),
        NOT_A_CHARGE,
    ),
    ("ix_ledger_entries_call_id", "ledger_entries", ("call_id",), NOT_A_CHARGE),
    ("ix_refused_calls_id", "refused_calls", ("id",), None),
    ("ix_refused_calls_code_id", "refused_calls", ("code", "id"), None),
    ("ix_refused_hours_hour", "refused_hours", ("hour",), None),
    ("ix_usage_hours_hour", "usage_hours", ("hour",), None),
)


def upgrade() -> None:
    """Carry the change out."""
    if op.get_bind().dialect.name == "postgresql":
        with op.get_context().autocommit_block():
            _create_indexes(concurrently=True)
    else:
        _create_indexes(concurrently=False)
    op.create_table(
        "platform_usage_hours",
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("group_id", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        *_sums(),
        sa.PrimaryKeyConstraint("hour", "group_id", "model", name=op.f("pk_platform_usage_hours")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "key_usage_days",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("account_id", TEXT, nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        *_sums(),
        sa.PrimaryKeyConstraint("day", "account_id", "key_id", name=op.f("pk_key_usage_days")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "platform_refused_hours",
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("group_id", TEXT, nullable=False),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "group_id", "code", name=op.f("pk_platform_refused_hours")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "dropped_calls",
        sa.Column("account_id", TEXT, nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("charge", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "key_id", name=op.f("pk_dropped_calls")),
    )


def _sums() -> list[sa.Column[int]]:
    names = ("calls", "input_units", "output_units", "charge", "absorbed")
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def _create_indexes(*, concurrently: bool) -> None:
    for name, table, columns, condition in INDEXES:
        if concurrently:
            op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        where = None if condition is None else sa.text(condition)
        op.create_index(
            name,
            table,
            list(columns),
            sqlite_where=where,
            postgresql_where=where,
            postgresql_concurrently=concurrently,
        )
