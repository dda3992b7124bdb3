"""What every part of the service shares."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from meritorder.gateway.config import Settings
from meritorder.gateway.state.auth import Authenticator
from meritorder.gateway.state.ledger_writer import LedgerWriter
from meritorder.gateway.state.webhooks import Webhooks
from meritorder.gateway.store.blobs import Blobs
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.stored_answers import StoredAnswer

if TYPE_CHECKING:
    from meritorder.gateway.state.telemetry import Telemetry  # it needs an extra


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The shared parts.

    Args:
        settings: The configuration.
        database: What is kept.
        blobs: The bytes of files.
        authenticator: Who may call.
        ledger_writer: The ledger, as it is written.
        me: This gateway among those that share the store.
        now_s: The clock: epoch seconds.
        new_id: Makes an id that cannot be guessed, with the prefix given.
        webhooks: Who is told of what ended.
        models: Names of the models that can be called.
        telemetry: Makes spans; None where it is off.
    """

    settings: Settings
    database: Database
    blobs: Blobs
    authenticator: Authenticator
    ledger_writer: LedgerWriter
    me: str
    now_s: Callable[[], float]
    new_id: Callable[[str], str]
    webhooks: Webhooks
    models: Callable[[], frozenset[str]]
    telemetry: "Telemetry | None" = None

    def traceparent(self) -> str | None:
        """Return the span in which we are, to be kept with work that waits; None where telemetry is off."""
        return None if self.telemetry is None else self.telemetry.traceparent()

    def tell_of_response(self, connection: Connection, item: StoredAnswer | None) -> None:
        """Announce a background response that is over, in the transaction in which it ends."""
        if item is not None:
            self.webhooks.announce(connection, item.tenant, f"response.{item.status}", item.id)
