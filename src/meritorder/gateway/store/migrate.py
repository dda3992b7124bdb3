"""Brings a store to the newest version."""

from meritorder.gateway.store.database import Database
from meritorder.gateway.store.schema import METADATA


def to_newest(database: Database) -> None:
    """Create or alter the tables."""
    METADATA.create_all(database.engine)
