"""The state that every part of the service shares."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from meritorder.gateway.config import Settings
from meritorder.gateway.state.auth import Authenticator
from meritorder.gateway.state.clock import Clock
from meritorder.gateway.state.ledger_writer import LedgerWriter
from meritorder.gateway.state.quotas import Quotas
from meritorder.gateway.state.supervisor import Supervisor
from meritorder.gateway.state.webhooks import Webhooks
from meritorder.gateway.store.blobs import Blobs
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.responses.stored_answers import StoredAnswer
from meritorder.gateway.wire.calls import CallFields

if TYPE_CHECKING:
    from meritorder.gateway.state.telemetry import Telemetry  # it needs an extra


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The shared state.

    Args:
        settings: The configuration.
        database: The store.
        blobs: Contents of files.
        authenticator: Authenticates calls.
        quotas: Admits calls by the budgets and rates of their keys.
        ledger_writer: Writes the ledger.
        instance_id: Id of this gateway among those that share the store.
        now_s: Returns the current epoch seconds.
        new_id: Returns a random id with the given prefix.
        webhooks: Sends events of finished batches and responses.
        models: Returns the public model names.
        expected_picousd: Returns the most that a call is expected to cost, by its endpoint, fields and size.
        telemetry: Records spans; None if off.
        supervisor: Runs the long-lived tasks, and counts failures.
        clock: The clock that `now_s` reads.
    """

    settings: Settings
    database: Database
    blobs: Blobs
    authenticator: Authenticator
    quotas: Quotas
    ledger_writer: LedgerWriter
    instance_id: str
    now_s: Callable[[], float]
    new_id: Callable[[str], str]
    webhooks: Webhooks
    models: Callable[[], frozenset[str]]
    expected_picousd: Callable[[str, CallFields, int], int]
    telemetry: "Telemetry | None" = None
    supervisor: Supervisor = field(default_factory=Supervisor)
    clock: Clock = field(default_factory=Clock)

    def traceparent(self) -> str | None:
        """Return the `traceparent` of the current span, to store with a queued request; None without telemetry."""
        return None if self.telemetry is None else self.telemetry.traceparent()

    def announce_response(self, connection: Connection, item: StoredAnswer | None) -> None:
        """Announce a finished background response, in the transaction that finishes it."""
        if item is not None:
            self.webhooks.announce(connection, item.tenant, f"response.{item.status}", item.id)
