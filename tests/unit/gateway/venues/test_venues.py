"""What runs at a venue, what it costs, and the merit order."""

import asyncio
from decimal import Decimal

import pytest

from meritorder.gateway import config_file
from meritorder.gateway.peers import Share
from meritorder.gateway.state.entries import Place
from meritorder.gateway.upstreams.kinds import VenueSpec
from meritorder.gateway.upstreams.openai import Priority
from meritorder.gateway.upstreams.upstream import EngineLoad
from meritorder.gateway.venues import venues
from meritorder.gateway.venues.venues import LatencySample, RunningRequest, StreamPace, Venue, Venues
from meritorder.gateway.wire.usage import StreamMeter, Usage
from meritorder.metering.words import BATCH_TOKENS, TOKENS

EVENT = b"data: {}\n\n"


def build(*tables: dict[str, object]) -> Venues:
    served = [{"url": "http://x", "models": ["m"]} | table for table in tables]
    return venues.build_venues(config_file.parse_settings({"venue": served}, where="test"))


def priced(**price: str) -> dict[str, object]:
    return {"name": "api", "price": {name: float(value) for name, value in price.items()}}


@pytest.mark.asyncio
async def test_cached_tokens_are_charged_once() -> None:
    price = priced(input_usd_per_mtok="2", cached_usd_per_mtok="0.5", output_usd_per_mtok="8")
    (venue,) = build(price).all
    usage = Usage(input_tokens=1000, cached_tokens=400, output_tokens=100)
    usd = (600 * Decimal(2) + 400 * Decimal("0.5") + 100 * Decimal(8)) / 10**6
    assert venue.cost_picousd(usage) == usd * 10**12


@pytest.mark.asyncio
async def test_cached_tokens_default_to_input_price() -> None:
    (venue,) = build(priced(input_usd_per_mtok="2", output_usd_per_mtok="8")).all
    cached, plain = Usage(input_tokens=1000, cached_tokens=400), Usage(input_tokens=1000)
    assert venue.cost_picousd(cached) == venue.cost_picousd(plain) == 2 * 10**9


@pytest.mark.asyncio
async def test_fractions_of_picodollars_add_up() -> None:
    """Half a picodollar a token: three tokens are 1.5, of which whole picodollars are charged."""
    (venue,) = build(priced(input_usd_per_mtok="0.0000005", output_usd_per_mtok="0")).all
    assert [venue.cost_picousd(Usage(input_tokens=tokens)) for tokens in (1, 2, 3, 4)] == [0, 1, 1, 2]


@pytest.mark.asyncio
async def test_no_price_no_cost() -> None:
    (venue,) = build({"name": "own", "kind": "vllm"}).all
    assert venue.cost_picousd(Usage(input_tokens=1)) is None


@pytest.mark.asyncio
async def test_merit_order_ends_with_fallbacks() -> None:
    cheap = {"name": "cheap", "price": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 1}}
    expensive = {"name": "expensive", "price": {"input_usd_per_mtok": 5, "output_usd_per_mtok": 1}}
    fallback = {"name": "fallback", "fallback": True}
    built = build(fallback, expensive, cheap, {"name": "own", "kind": "vllm"})
    assert [venue.name for venue in built.serving("m", "realtime")] == ["own", "cheap", "expensive", "fallback"]


@pytest.mark.asyncio
async def test_merit_adds_input_and_output_prices() -> None:
    """Input $1 and output $6 cost more than $5 and $1; engines without a price cost nothing, in the order given."""
    low_input = {"name": "low input", "price": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 6}}
    low_output = {"name": "low output", "price": {"input_usd_per_mtok": 5, "output_usd_per_mtok": 1}}
    built = build(low_input, low_output, {"name": "b", "kind": "vllm"}, {"name": "a", "kind": "vllm"})
    assert [venue.name for venue in built.serving("m", "deferrable")] == ["b", "a", "low output", "low input"]


@pytest.mark.asyncio
async def test_venues_serve_their_models_and_lanes() -> None:
    built = build(
        {"name": "online", "lanes": ["realtime"]}, {"name": "offline", "models": ["n"], "lanes": ["deferrable"]}
    )
    assert built.models() == {"m", "n"}
    served = {(model, lane): built.serving(model, lane) for model in "mn" for lane in ("realtime", "deferrable")}
    assert {place: [venue.name for venue in serving] for place, serving in served.items()} == {
        ("m", "realtime"): ["online"],
        ("m", "deferrable"): [],
        ("n", "realtime"): [],
        ("n", "deferrable"): ["offline"],
    }
    assert built.serving("unknown", "realtime") == ()


@pytest.mark.asyncio
async def test_limit_of_sequences() -> None:
    """The configured limit, else what the engine reports, else 64."""
    configured, own = build({"name": "limited", "max_concurrency": 3}, {"name": "own", "kind": "vllm"}).all
    load = EngineLoad(running=0, waiting=0, max_sequences=5, kv_cache_share=None)
    configured.load = load
    assert (configured.max_sequences, own.max_sequences) == (3, 64)
    own.load = load
    assert own.max_sequences == 5
    own.load = EngineLoad(running=0, waiting=0, max_sequences=None, kv_cache_share=None)
    assert own.max_sequences == 64


@pytest.mark.asyncio
async def test_only_engines_stream_deferrable_requests() -> None:
    api, own = build({"name": "api"}, {"name": "own", "kind": "vllm"}).all
    assert [own.streams(path) for path in ("/v1/completions", "/v1/embeddings")] == [True, False]
    assert not api.streams("/v1/completions")


def occupy(venue: Venue, *tokens: int) -> list[RunningRequest]:
    """Start deferrable requests with these counts of output tokens."""
    venue.deferrable += [RunningRequest(asyncio.create_task(asyncio.sleep(60)), tokens=count) for count in tokens]
    return venue.deferrable


def preempted(venue: Venue) -> list[int]:
    """The positions of the requests that were preempted, each of which is cancelled as well."""
    positions = [position for position, running in enumerate(venue.deferrable) if running.preempted]
    assert [bool(running.task.cancelling()) for running in venue.deferrable] == [
        position in positions for position in range(len(venue.deferrable))
    ]
    return positions


@pytest.mark.asyncio
async def test_latest_with_fewest_tokens_is_preempted() -> None:
    (venue,) = build({"name": "own", "kind": "vllm"}).all
    occupy(venue, 5, 3, 3, 9)
    for count, positions in ((0, []), (-1, []), (1, [2]), (2, [0, 1, 2]), (9, [0, 1, 2, 3])):
        venue.preempt(count)
        assert preempted(venue) == positions


@pytest.mark.asyncio
async def test_urgent_requests_are_not_preempted() -> None:
    (venue,) = build({"name": "own", "kind": "vllm"}).all
    urgent, _ = occupy(venue, 1, 2)
    urgent.urgent = True
    venue.preempt(2)
    assert preempted(venue) == [1]


@pytest.mark.asyncio
@pytest.mark.parametrize(("kind", "second"), [("vllm", [1]), ("openai", [])])
async def test_real_time_takes_a_sequence(kind: str, second: list[int]) -> None:
    """Of three sequences two are taken; the first real-time request finds the third, the next preempts one."""
    (venue,) = build({"name": "v", "kind": kind, "max_concurrency": 3}).all
    occupy(venue, 2, 1)
    venue.add_realtime(streamed=False)
    assert (venue.realtime, venue.prefilling, preempted(venue)) == (1, 0, [])
    venue.add_realtime(streamed=False)
    assert (venue.realtime, venue.prefilling, preempted(venue)) == (2, 0, second)


@pytest.mark.asyncio
async def test_prefill_is_left_to_real_time() -> None:
    """Two may be in prefill. Of four deferrable requests one has its first token and one is urgent."""
    (venue,) = build({"name": "own", "kind": "vllm"}).all
    occupy(venue, 0, 0, 0, 7)[0].urgent = True
    venue.add_realtime(streamed=True)
    assert preempted(venue) == [], "no limit is known"
    venue.max_prefilling = 3
    venue.add_realtime(streamed=False)
    assert preempted(venue) == [], "it needs no first token by itself"
    venue.add_realtime(streamed=True)
    assert preempted(venue) == [2], "2 + 2 - 3"
    venue.add_realtime(streamed=True)
    assert preempted(venue) == [1, 2], "3 + 1 - 3"
    venue.add_realtime(streamed=True)
    assert (preempted(venue), venue.prefilling) == ([1, 2], 4)


@pytest.mark.asyncio
async def test_free_prefill_preempts_none() -> None:
    (venue,) = build({"name": "own", "kind": "vllm"}).all
    occupy(venue, 0)
    venue.max_prefilling = 2
    venue.add_realtime(streamed=True)
    assert preempted(venue) == []


@pytest.mark.asyncio
async def test_real_time_requests_leave_samples() -> None:
    (venue,) = build({"name": "own", "kind": "vllm"}).all
    for _ in range(3):
        venue.add_realtime(streamed=True)
    venue.record_first_token(5.0, 0.5)
    assert venue.prefilling == 2
    venue.remove_realtime(6.0, 0.02, prefilling=False)
    venue.remove_realtime(7.0, None, prefilling=True)
    assert (venue.realtime, venue.prefilling) == (1, 1)
    assert (list(venue.ttfts), list(venue.tpots)) == ([LatencySample(5.0, 0.5)], [LatencySample(6.0, 0.02)])


def test_pace_counts_from_the_first_sample() -> None:
    """Tokens before it prove nothing: their time is unknown."""
    pace, meter = StreamPace(), StreamMeter()
    meter.feed(EVENT * 9)
    pace.add(meter)
    assert pace.sample_tpot_s(10.0) is None
    meter.feed(EVENT * 5)
    assert pace.sample_tpot_s(11.0) == pytest.approx(1 / 5)


def test_pace_forgets_after_four_samples() -> None:
    """Four seconds of one token each after a second of sixteen: 1 / 16, 2 / 17, 3 / 18, 4 / 19, then 4 / 4."""
    pace, meter = StreamPace(), StreamMeter()
    pace.add(meter)
    pace.sample_tpot_s(0.0)
    samples = []
    for second, events in enumerate((16, 1, 1, 1, 1), 1):
        meter.feed(EVENT * events)
        samples.append(pace.sample_tpot_s(float(second)))
    assert samples == pytest.approx([1 / 16, 2 / 17, 3 / 18, 4 / 19, 1.0])


def test_pace_of_streams_in_progress() -> None:
    pace, fast, slow = StreamPace(), StreamMeter(), StreamMeter()
    pace.add(fast)
    pace.add(slow)
    assert pace.sample_tpot_s(10.0) is None  # nothing to compare with
    for second in range(1, 3):
        fast.feed(EVENT * 9)
        slow.feed(EVENT)
        assert pace.sample_tpot_s(10.0 + second) == pytest.approx(0.2)
    pace.remove(slow)
    for second in range(3, 9):
        fast.feed(EVENT * 9)
        late = pace.sample_tpot_s(10.0 + second)
    assert late == pytest.approx(1 / 9)


def test_too_few_tokens_no_pace() -> None:
    pace, meter = StreamPace(), StreamMeter()
    pace.add(meter)
    pace.sample_tpot_s(1.0)
    meter.feed(EVENT * 3)
    assert pace.sample_tpot_s(2.0) is None
    meter.feed(EVENT)
    assert pace.sample_tpot_s(3.0) == pytest.approx(0.5)


@pytest.mark.asyncio
async def test_priority_is_sent_if_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM serves lower priorities first, SGLang higher ones; a request waits ten seconds for the limits of a venue."""
    specs: list[VenueSpec] = []
    build_upstream = venues.kinds.build_upstream
    monkeypatch.setattr(
        venues.kinds, "build_upstream", lambda spec, runtime: specs.append(spec) or build_upstream(spec, runtime)
    )
    build(
        {"name": "vllm", "kind": "vllm", "priority": True},
        {"name": "sglang", "kind": "sglang", "priority": True},
        {"name": "unordered", "kind": "vllm"},
    )
    assert [spec.priority for spec in specs] == [Priority.LOWER_FIRST, Priority.HIGHER_FIRST, Priority.NONE]
    assert {spec.guard.patience_s for spec in specs} == {10.0}


@pytest.mark.asyncio
async def test_latest_256_latencies_are_kept() -> None:
    (venue,) = build({"name": "own", "kind": "vllm"}).all
    for second in range(300):
        venue.record_first_token(float(second), 0.5)
        venue.remove_realtime(float(second), 0.02, prefilling=False)
    for samples in (venue.ttfts, venue.tpots):
        assert [sample.at_s for sample in samples] == [float(second) for second in range(44, 300)]


def test_limits_are_shared_by_workers() -> None:
    """A provider's limits are divided; an engine that reports its own is too, and has no other limit."""
    tables = [
        {"name": "provider", "url": "http://x", "models": ["m"], "max_concurrency": 5, "tokens_per_minute": 101},
        {"name": "engine", "url": "http://x", "models": ["m"], "kind": "vllm"},
    ]
    settings = config_file.parse_settings({"venue": tables}, where="test")
    shares = [Share(number=number, count=2) for number in range(2)]
    built = [venues.build_venues(settings, share=share) for share in shares]
    for known in built:
        known.all[1].load = EngineLoad(running=0, waiting=0, max_sequences=9)
    assert [[venue.max_sequences for venue in known.all] for known in built] == [[3, 5], [2, 4]]
    assert [[venue.limit for venue in known.all] for known in built] == [[5, 9], [5, 9]]


@pytest.mark.asyncio
async def test_token_api_is_no_machine() -> None:
    priced_batches = {"kind": "openai", "batch": True} | priced(input_usd_per_mtok="2", output_usd_per_mtok="8")
    api, own = build(priced_batches, {"name": "own", "kind": "vllm"}).all
    assert (api.place, api.batch_place) == (Place("api", None, TOKENS), Place("api", None, BATCH_TOKENS))
    assert own.batch_place == Place("own")
