"""${message}"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "${up_revision}"
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None

# The oldest revision whose gateway can still use the schema after this step (expand, then contract).
OLDEST_READER = 1


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
    op.execute(sa.text("UPDATE schema_info SET oldest_reader = :r").bindparams(r=OLDEST_READER))
