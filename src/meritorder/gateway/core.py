"""What every part of the service shares."""

from collections.abc import Callable
from dataclasses import dataclass

from meritorder.gateway.blobs import Blobs
from meritorder.gateway.book import Book
from meritorder.gateway.config import Settings
from meritorder.gateway.keyring import Keyring
from meritorder.gateway.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The shared parts.

    Args:
        settings: The configuration.
        database: What is kept.
        blobs: The bytes of files.
        keyring: Who may call.
        book: The ledger, as it is written.
        me: This gateway among those that share the store.
        now_s: The clock: epoch seconds.
        new_id: Makes an id that cannot be guessed, with the prefix given.
        models: Names of the models that can be called.
    """

    settings: Settings
    database: Database
    blobs: Blobs
    keyring: Keyring
    book: Book
    me: str
    now_s: Callable[[], float]
    new_id: Callable[[str], str]
    models: Callable[[], frozenset[str]]
