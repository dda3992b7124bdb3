"""Names of constraints, and the keys of tables that count up."""

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, MetaData

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite autoincrements INTEGER keys only.
SEQ: Final = BigInteger().with_variant(Integer, "sqlite")


def seq() -> Column[int]:
    """Return the column of a key that counts up."""
    return Column("seq", SEQ, primary_key=True, autoincrement=True)
