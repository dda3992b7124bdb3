"""Decides which work goes through a provider's batch API, and until when it may stay there."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from meritorder.gateway.config import DEFERRABLE, LanesTable, duration_s
from meritorder.gateway.store.queue.backlog import QueuedRequests
from meritorder.gateway.store.queue.provider_batches import KEPT_TURNAROUNDS
from meritorder.gateway.venues.venues import Venue, Venues
from meritorder.policy.escalation import fits_provider_batch, provider_turnaround_s, way_back_s
from meritorder.policy.schedule import safe_completion_tokens_per_s

_CANCEL_S: Final = 600.0  # OpenAI: a batch is `cancelling` for up to ten minutes
_FAILURES: Final = 2  # failed provider batches after which a batch is sent one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallTimes:
    """When requests are taken back from a batch API.

    Args:
        cancel_s: When the provider is asked to cancel what it has not answered.
        requeue_s: When the requests are queued again even if the provider has not confirmed that.
    """

    cancel_s: float
    requeue_s: float


class BatchWays:
    """The batch APIs of all venues: how long they take, and which batches they failed.

    Args:
        venues: The venues.
        lanes: The margin, and the pace at which requests complete one by one.
    """

    def __init__(self, venues: Venues, lanes: LanesTable) -> None:
        self._venues = venues
        self._margin_s = duration_s(lanes.margin)
        self._tpot_s = duration_s(lanes.tpot)
        self._ended: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT_TURNAROUNDS))
        self._running: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._failures: Counter[tuple[str, int]] = Counter()

    def fits(self, work: QueuedRequests, venue: Venue, now_s: float) -> bool:
        """Tell whether a venue's batch API is expected to answer work early enough to leave the way back."""
        if venue.batches is None or work.batch_seq is None or work.model not in venue.served:
            return False
        if self._failures[venue.name, work.batch_seq] >= _FAILURES:
            return False
        way_back_s = self._way_back_s(work.model, work.tokens, work.deadline_s - work.arrived_s)
        return fits_provider_batch(work.deadline_s, self.turnaround_s(venue), way_back_s, now_s)

    def turnaround_s(self, venue: Venue) -> float:
        """Return the time that a venue's batch API is expected to take."""
        promised_s = duration_s(venue.table.batch_window)
        return provider_turnaround_s(self._ended[venue.name], [*self._running[venue.name].values()], promised_s)

    def recall_times(self, model: str, tokens: int, arrived_s: float, deadline_s: float) -> RecallTimes:
        """Return when requests that a provider has not answered are taken back, so that they meet their deadline."""
        window_s = deadline_s - arrived_s
        way_back_s = self._way_back_s(model, tokens, window_s)
        cancelling_s = _CANCEL_S if way_back_s > _CANCEL_S + self._margin_s else way_back_s / 2
        return RecallTimes(cancel_s=deadline_s - way_back_s, requeue_s=deadline_s - way_back_s + cancelling_s)

    def record_running(self, venue: Venue, batch_id: str, age_s: float) -> None:
        """Record the age of a provider batch that still runs."""
        self._running[venue.name][batch_id] = age_s

    def forget_running(self, venue: str, batch_id: str) -> None:
        """Forget a provider batch of a venue, given by name, that runs no more."""
        self._running[venue].pop(batch_id, None)

    def record_end(self, venue: str, turnaround_s: float) -> None:
        """Record the turnaround of a provider batch that a venue, given by name, has worked on to its end."""
        self._ended[venue].append(turnaround_s)

    def record_ends(self, turnarounds: Iterable[tuple[str, float]]) -> None:
        """Record earlier turnarounds, each with the name of its venue, the oldest first."""
        for venue, turnaround_s in turnarounds:
            self.record_end(venue, turnaround_s)

    def record_failure(self, venue: Venue, batch_seq: int) -> None:
        """Record that a venue refused or lost a provider batch: after the second, the batch is sent one by one."""
        self._failures[venue.name, batch_seq] += 1

    def _way_back_s(self, model: str, tokens: int, window_s: float) -> float:
        sequences = sum(venue.max_sequences for venue in self._venues.serving(model, DEFERRABLE))
        rate = safe_completion_tokens_per_s(float("inf"), max(1, sequences), self._tpot_s)
        return way_back_s(tokens, rate, _CANCEL_S + self._margin_s, window_s)
