"""Quotes: what a batch would cost and when it would end, by how long it may wait."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from meritorder.gateway import decoding
from meritorder.gateway.config import DEFERRABLE, REALTIME, duration_s
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import files
from meritorder.gateway.store.billing import quotes
from meritorder.gateway.store.queue import backlog
from meritorder.gateway.store.queue.backlog import QueuedRequests
from meritorder.gateway.venues.venues import Venue, Venues
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.errors import INVALID_JSON, ApiError, invalid_request
from meritorder.gateway.wire.usage import Usage
from meritorder.gateway.workers.dispatch import Dispatcher
from meritorder.metering.expected import PastJob, expected_output_tokens, picousd_per_token
from meritorder.metering.words import BATCH_TOKENS, MACHINE, TOKENS
from meritorder.policy.schedule import safe_completion_tokens_per_s
from meritorder.records.accounting import OUTPUT_WEIGHT
from meritorder.records.receipts import Quote, QuoteOffer
from meritorder.units import SECONDS_PER_HOUR, exact_usd, format_count, utc

PATIENCE: Final = ("15m", "1h", "4h", "24h")
"""How long a quoted batch may wait: completion windows."""
NOW: Final = "now"
VALID_S: Final = 900.0

_Rates = Mapping[str, float | None]
_PAST_BATCHES: Final = 20
_MAX_READ_BYTES: Final = 64 * 1024 * 1024  # of a file; the rest is taken to be alike
_MAX_QUEUED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a file of requests needs.

    Args:
        model: Its model.
        requests: Its requests.
        tokens: Its tokens as the queue estimates them: limits on output count in full.
        input_tokens: Its prompt tokens, expected.
        output_tokens: Its output tokens, expected.
        assumptions: What was assumed.
    """

    model: str
    requests: int
    tokens: int
    input_tokens: int
    output_tokens: int
    assumptions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to run a job: its venue, what its price is based on, its price, and how long it takes."""

    venue: str
    price_basis: str
    picousd: int
    takes_s: float
    is_measured: bool


class Quoting:
    """Quotes batches.

    Args:
        context: The shared state.
        venues: The venues, with their prices.
        dispatcher: Knows how fast queued work is done, and how long batch APIs take.
    """

    def __init__(self, context: Context, venues: Venues, dispatcher: Dispatcher) -> None:
        self._context = context
        self._venues = venues
        self._dispatcher = dispatcher
        self._margin_s = duration_s(context.settings.lanes.margin)
        self._tpot_s = duration_s(context.settings.lanes.tpot)

    def read_job(self, tenant: str, file_id: str, endpoint: str) -> Job:
        """Return what a file needs; blocks the calling thread.

        Raises:
            ApiError: It has no line that could run.
            StoreUnavailableError: It cannot be read now.
        """
        database = self._context.database
        blob = database.read_now(lambda connection: files.find_blob(connection, tenant, file_id))
        if blob is None:
            raise invalid_request(f"Invalid value: no file '{file_id}' was found.", param="input_file_id")
        tally, is_whole = _Tally(endpoint, self._context.models()), True
        incomplete = b""
        for part in self._context.blobs.read_now(blob):
            *lines, incomplete = (incomplete + part).split(b"\n")
            for line in lines:
                tally.add(line)
            if tally.read_bytes > _MAX_READ_BYTES or len(incomplete) > self._context.settings.limits.line_bytes:
                is_whole = False
                break
        if is_whole:
            tally.add(incomplete)
        if tally.model is None:
            raise invalid_request(
                f"No line of '{file_id}' is a request to {endpoint} for a model that is served.", param="input_file_id"
            )
        file = database.read_now(lambda connection: files.get(connection, tenant, file_id, now_s=self._context.now_s()))
        scale = 1.0 if is_whole or file is None else file.bytes / tally.read_bytes
        past = database.read_now(
            lambda connection: quotes.past_jobs(connection, tenant, tally.model or "", endpoint, limit=_PAST_BATCHES)
        )
        return tally.job(scale, past, is_whole=is_whole)

    async def quote(self, job: Job, *, quote_id: str, input_file_id: str, endpoint: str) -> Quote:
        """Return the price and the end of a job, by how long it may wait."""
        context, now_s = self._context, self._context.now_s()
        queued = await context.database.read_soon(
            lambda connection: backlog.queued_work(connection, now_s=now_s, limit=_MAX_QUEUED)
        )
        rates = await self._token_rates(job.model, REALTIME)
        offers = [self._offer(NOW, None, self._now_ways(job, rates), now_s)]
        rates = await self._token_rates(job.model, DEFERRABLE)
        for patience in PATIENCE:
            ways = self._ways(job, now_s, duration_s(patience), queued, rates)
            offers.append(self._offer(patience, duration_s(patience), ways, now_s))
        return Quote(
            id=quote_id,
            input_file_id=input_file_id,
            endpoint=endpoint,
            model=job.model,
            requests=job.requests,
            input_tokens=job.input_tokens,
            output_tokens=job.output_tokens,
            created_at=int(now_s),
            expires_at=int(now_s + VALID_S),
            honored=context.settings.lanes.honor_quotes,
            offers=tuple(offers),
            assumptions=job.assumptions,
        )

    def _offer(self, patience: str, within_s: float | None, ways: Sequence[_Way], now_s: float) -> QuoteOffer:
        fitting = [way for way in ways if within_s is None or way.takes_s <= within_s]
        if not fitting:
            reason = "no way with a price ends within it" if ways else "no venue of its model has a price"
            return QuoteOffer(patience=patience, reason=reason)
        best = min(fitting, key=lambda way: (way.picousd, way.takes_s))
        return QuoteOffer(
            patience=patience,
            usd=exact_usd(best.picousd),
            done_at=utc(now_s + best.takes_s).isoformat(timespec="seconds"),
            takes_s=round(best.takes_s, 1),
            venue=best.venue,
            price_basis=best.price_basis,
            is_measured=best.is_measured,
        )

    async def _token_rates(self, model: str, lane: str) -> _Rates:
        """Return what a token of a model's work has cost in a lane of each venue with machines; None if unknown."""
        rented = {venue.name: venue.rented for venue in self._venues.all if venue.rented and model in venue.served}
        return {
            name: picousd_per_token(
                await self._context.database.read_soon(
                    partial(quotes.latest_attempts, venue=name, model=model, lane=lane)
                ),
                machine.picousd_per_hour,
            )
            for name, machine in rented.items()
        }

    def _now_ways(self, job: Job, rates: _Rates) -> list[_Way]:
        """Return the ways of calls in real time: all sequences of a venue, nothing ahead of them."""
        serving = self._venues.serving(job.model, REALTIME)
        return [way for venue in serving for way in self._direct(job, venue, rates, 0.0)]

    def _ways(
        self, job: Job, now_s: float, within_s: float, queued: Sequence[QueuedRequests], rates: _Rates
    ) -> list[_Way]:
        """Return the ways of a batch, behind what is queued for its model and due before it."""
        work = QueuedRequests(
            batch_seq=-1,
            seq=0,
            tenant="",
            model=job.model,
            deadline_s=now_s + within_s,
            tokens=job.tokens,
            count=job.requests,
            arrived_s=now_s,
        )
        ahead = [other for other in queued if other.model == job.model and other.deadline_s <= work.deadline_s]
        ahead_tokens = sum(other.tokens for other in ahead)
        # The time for the work ahead and its own, at the measured rate; zero if nothing was measured.
        measured_s = work.deadline_s - self._margin_s - self._dispatcher.latest_backfill_s(work, ahead)
        ways: list[_Way] = []
        for venue in self._venues.serving(job.model, DEFERRABLE):
            usage = _usage(job)
            if self._dispatcher.batch_ways.fits(work, venue, now_s):
                picousd = venue.batch_cost_picousd(usage)
                if picousd is not None:
                    turnaround_s = self._dispatcher.batch_ways.turnaround_s(venue)
                    ways.append(_Way(venue.name, BATCH_TOKENS, picousd, turnaround_s, is_measured=False))
            ways += self._direct(job, venue, rates, ahead_tokens, measured_s)
        return ways

    def _direct(
        self, job: Job, venue: Venue, rates: _Rates, ahead_tokens: float, measured_s: float = 0.0
    ) -> list[_Way]:
        """Return the way of calls one by one, if it has a price."""
        rate = safe_completion_tokens_per_s(float("inf"), venue.max_sequences, self._tpot_s)
        assumed_s = (ahead_tokens + job.tokens) / rate
        is_measured = 0 < measured_s < float("inf")
        takes_s = measured_s if is_measured else assumed_s
        if venue.rented is None:
            picousd, basis = venue.cost_picousd(_usage(job)), TOKENS
        else:
            measured = rates.get(venue.name)
            if measured is None:  # all of the machine for the time that its own work takes
                picousd = round(venue.rented.picousd_per_hour * job.tokens / rate / SECONDS_PER_HOUR)
            else:
                picousd = round(measured * (job.input_tokens + OUTPUT_WEIGHT * job.output_tokens))
            basis, is_measured = MACHINE, is_measured and measured is not None
        return [] if picousd is None else [_Way(venue.name, basis, picousd, takes_s, is_measured)]


def _usage(job: Job) -> Usage:
    return Usage(input_tokens=job.input_tokens, output_tokens=job.output_tokens)


class _Tally:
    """Counts the lines of a file that could run."""

    def __init__(self, endpoint: str, models: frozenset[str]) -> None:
        self._endpoint, self._models = endpoint, models
        self.model: str | None = None
        self.read_bytes = self.requests = self.input_tokens = self.output_tokens = 0

    def add(self, line: bytes) -> None:
        """Count a line; what is no request to a model that is served costs nothing."""
        self.read_bytes += len(line) + 1
        if not line.strip():
            return
        try:
            body = bytes(memoryview(decoding.run_now(calls.parse_line, line).body))
            call = decoding.run_now(calls.parse_line_call, body, self._endpoint)
        except (ApiError, msgspec.ValidationError, *INVALID_JSON):
            return
        if call.model in self._models:
            self.model = self.model or call.model
            self.requests += 1
            self.input_tokens += calls.estimate_tokens(len(body))
            self.output_tokens += call.output_tokens

    def job(self, scale: float, past: Sequence[PastJob], *, is_whole: bool) -> Job:
        """Return what the whole file needs, with what earlier batches show about such files."""
        input_tokens, output_tokens = self.input_tokens * scale, self.output_tokens * scale
        tokens = round(input_tokens + output_tokens)
        requests_ = round(self.requests * scale)
        assumptions = []
        if not is_whole:
            assumptions.append(f"the file is as its first {format_count(self.requests, 'request')}")
        file_bytes = sum(earlier.file_bytes for earlier in past)
        if file_bytes:
            input_tokens = sum(earlier.input_tokens for earlier in past) / file_bytes * self.read_bytes * scale
            output_tokens = expected_output_tokens(past, requests_, round(output_tokens))
            seen = "1 earlier batch" if len(past) == 1 else f"{len(past)} earlier batches"
            assumptions.append(f"tokens are as in {seen} of this tenant, model and endpoint")
        else:
            assumptions.append("answers are as long as their limits, since no such batch has ended yet")
        return Job(
            model=self.model or "",
            requests=requests_,
            tokens=tokens,
            input_tokens=round(input_tokens),
            output_tokens=round(output_tokens),
            assumptions=tuple(assumptions),
        )


def price_picousd(quote: Quote, window_s: float) -> int | None:
    """Return what a quote offers a batch for its window: the price of the longest patience within it; None if none."""
    fitting = [
        offer.usd
        for offer in quote.offers
        if offer.patience != NOW and offer.usd is not None and duration_s(offer.patience) <= window_s
    ]
    return None if not fitting else int(fitting[-1].scaleb(12).to_integral_value())
