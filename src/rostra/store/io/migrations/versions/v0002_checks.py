"""The results of guests' tests; they go with their Space."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "checks",
        sa.Column("space", sa.String(32), sa.ForeignKey("spaces.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("seat", sa.String(32), primary_key=True),
        sa.Column("link", sa.String(32), nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("advice", sa.String, nullable=False),
        sa.Column("measured", sa.String, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("checks")
