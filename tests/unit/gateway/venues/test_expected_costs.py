import json
from typing import Any

import pytest

from meritorder.gateway import config_file
from meritorder.gateway.venues.expected_costs import ExpectedCosts
from meritorder.gateway.venues.venues import build_venues
from meritorder.gateway.wire.calls import parse_call

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
MICRO = 10**6  # picodollars of a token at $1 a million


def expected(*venues: dict[str, Any]) -> ExpectedCosts:
    tables = [
        {"name": f"v{i}", "url": "http://127.0.0.1:1/v1", "models": ["m"], **venue} for i, venue in enumerate(venues)
    ]
    return ExpectedCosts(build_venues(config_file.parse_settings({"venue": tables, "store": {}}, where="gateway.toml")))


def price(input_usd: float, output_usd: float) -> dict[str, Any]:
    return {"price": {"input_usd_per_mtok": input_usd, "output_usd_per_mtok": output_usd}}


def picousd(costs: ExpectedCosts, endpoint: str, **fields: Any) -> int:  # noqa: ANN401
    """Return the cost of a body of 200 bytes: one token for every two, and 64 for a template."""
    return costs.picousd(endpoint, parse_call(json.dumps({"model": "m", **fields}).encode()), 200)


@pytest.mark.parametrize(
    ("endpoint", "fields", "output_tokens"),
    [
        (CHAT, {"max_tokens": 10}, 10),
        (CHAT, {"max_completion_tokens": 10, "max_tokens": 99}, 10),
        (CHAT, {"max_tokens": 10, "n": 3}, 30),
        (CHAT, {}, 4096),
        (CHAT, {"n": 2}, 8192),
        (COMPLETIONS, {"max_tokens": 10, "prompt": ["a", "b"]}, 20),
        (COMPLETIONS, {"max_tokens": 10, "prompt": ["a", "b"], "n": 2, "best_of": 4}, 80),
        (COMPLETIONS, {"max_tokens": 10, "prompt": [1, 2, 3]}, 10),
        (COMPLETIONS, {"max_tokens": 10, "prompt": [[1], [2]]}, 20),
        ("/v1/responses", {"max_output_tokens": 7}, 7),
        (EMBEDDINGS, {"input": "x"}, 0),
        (CHAT, {"max_tokens": 10, "n": 0}, 10),
        (CHAT, {"max_tokens": 10, "n": -5}, 10),
        (CHAT, {"max_tokens": 10, "n": "5"}, 10),
        (COMPLETIONS, {"max_tokens": 10, "prompt": "[1]", "n": None}, 10),
        (CHAT, {"max_tokens": -10}, 0),
    ],
)
def test_limit_counts_for_each_choice(endpoint: str, fields: dict[str, Any], output_tokens: int) -> None:
    costs = expected(price(1, 4))
    assert picousd(costs, endpoint, **fields) == (100 + 64 + 4 * output_tokens) * MICRO


def test_most_expensive_venue_decides() -> None:
    costs = expected(price(1, 4), price(2, 3) | {"fallback": True}, {}, price(9, 9) | {"models": ["other"]})
    assert picousd(costs, CHAT, max_tokens=10) == max(164 + 40, 2 * 164 + 30) * MICRO
    assert picousd(costs, CHAT, model="nothing", max_tokens=10) == 0
    assert picousd(expected({}), CHAT, max_tokens=10) == 0, "without a price nothing is reserved"


def test_venue_states_its_longest_answer() -> None:
    costs = expected(price(0, 1) | {"max_output_tokens": 100})
    assert picousd(costs, CHAT) == 100 * MICRO
    assert picousd(costs, CHAT, max_tokens=500) == 500 * MICRO


def test_absurd_requests_are_bounded() -> None:
    """A thousand dollars, so that no sum of them leaves the columns of the store."""
    assert picousd(expected(price(1, 4)), CHAT, max_tokens=10**9, n=10**9) == 10**15
