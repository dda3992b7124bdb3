"""Which batches go through a provider's batch API, and when they are taken back."""

import pytest

from meritorder.gateway import config_file
from meritorder.gateway.store.queue.backlog import QueuedRequests
from meritorder.gateway.venues.batch_ways import BatchWays
from meritorder.gateway.venues.venues import Venue, build_venues
from meritorder.gateway.wire.usage import Usage

HOUR_S = 3600.0


def open_ways(**fields: object) -> tuple[BatchWays, Venue]:
    table = {"name": "p", "kind": "openai", "models": ["m"], "batch": True, **fields}
    settings = config_file.parse_settings({"venue": [table]}, where="gateway.toml")
    venues = build_venues(settings)
    return BatchWays(venues, settings.lanes), venues.all[0]


def work(window_s: float, tokens: int = 1000) -> QueuedRequests:
    return QueuedRequests(
        batch_seq=1, seq=0, tenant="t", model="m", deadline_s=window_s, tokens=tokens, count=1, arrived_s=0.0
    )


@pytest.mark.parametrize(
    ("window_s", "tokens", "fits"),
    [
        (24 * HOUR_S, 1000, True),
        (24 * HOUR_S, 10**9, True),  # its way back is longer than its window, however it is sent
        (12 * HOUR_S, 1000, False),  # half of the promised window, and the way back
        (12.25 * HOUR_S, 1000, True),
    ],
)
def test_unmeasured_provider_gets_day_batches(window_s: float, tokens: int, fits: bool) -> None:  # noqa: FBT001
    ways, venue = open_ways()
    assert ways.fits(work(window_s, tokens), venue, 0.0) is fits


def test_measured_turnaround_decides() -> None:
    ways, venue = open_ways()
    ways.record_end(venue.name, HOUR_S)
    assert ways.fits(work(2 * HOUR_S), venue, 0.0)
    ways.record_running(venue, "c1", 3 * HOUR_S)
    assert not ways.fits(work(2 * HOUR_S), venue, 0.0)
    ways.forget_running(venue.name, "c1")
    assert ways.fits(work(2 * HOUR_S), venue, 0.0)


def test_second_failure_ends_batch_api_use() -> None:
    ways, venue = open_ways()
    ways.record_failure(venue, 1)
    assert ways.fits(work(24 * HOUR_S), venue, 0.0)
    ways.record_failure(venue, 1)
    assert not ways.fits(work(24 * HOUR_S), venue, 0.0)


def test_recall_leaves_time_to_cancel() -> None:
    """Ten minutes to cancel, one of margin, and 3,200 tokens at half of 64 sequences with 100 ms a token: 10 s."""
    ways, _ = open_ways()
    times = ways.recall_times("m", 3200, 0.0, 24 * HOUR_S)
    assert times.cancel_s == pytest.approx(24 * HOUR_S - 670.0)
    assert times.requeue_s == pytest.approx(24 * HOUR_S - 70.0)


def test_batch_api_has_its_own_price() -> None:
    usage = Usage(input_tokens=1_000_000)
    price = {"input_usd_per_mtok": 1.0}
    assert open_ways(price=price)[1].batch_cost_picousd(usage) == 500_000_000_000
    agreed = {"input_usd_per_mtok": 0.4}
    assert open_ways(price=price, batch_price=agreed)[1].batch_cost_picousd(usage) == 400_000_000_000
    assert open_ways()[1].batch_cost_picousd(usage) is None
