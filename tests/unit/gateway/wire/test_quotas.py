import json

import pytest

from meritorder.gateway.store.keys import Budget, Rates
from meritorder.gateway.store.quotas.admission import Refusal
from meritorder.gateway.store.quotas.budgets import BudgetState
from meritorder.gateway.wire.quotas import RateUse, batch_errors, expired_error, pause_fields, quota_error, rate_headers
from meritorder.policy.rates import RateRefusal

NOON_S = 1_795_953_600.0  # 2026-11-29T12:00:00Z
OWN = Rates(id="a", requests_per_minute=60)
TEAM = Rates(id="team:search", tokens_per_minute=100)


def state(spent: int, *, budget_id: str = "a", period: str | None = None, renews_s: float | None = None) -> BudgetState:
    return BudgetState(
        budget=Budget(id=budget_id, amount_picousd=5 * 10**13, period=period),
        spent_picousd=spent,
        start_s=0.0,
        renews_s=renews_s,
        exhausted_s=NOON_S + 0.5,
    )


SPENT = state(5 * 10**13, period="day", renews_s=NOON_S + 43_200)


@pytest.mark.parametrize(
    ("budget", "message", "headers"),
    [
        (
            SPENT,
            "the budget of this key, $50.00 a day, is spent. It renews at 2026-11-30T00:00:00Z.",
            {"x-should-retry": "false", "retry-after": "43200"},
        ),
        (
            state(6 * 10**13, budget_id="team:search", period="hour", renews_s=NOON_S + 0.2),
            "the budget of the team 'search', $50.00 an hour, is spent. It renews at 2026-11-29T12:00:00Z.",
            {"x-should-retry": "false", "retry-after": "1"},
        ),
        (state(5 * 10**13), "the budget of this key, $50.00, is spent.", {"x-should-retry": "false"}),
        (state(1), "What is left of the budget of this key is reserved for other calls.", {"retry-after": "1"}),
    ],
)
def test_budget_errors_are_insufficient_quota(budget: BudgetState, message: str, headers: dict[str, str]) -> None:
    error = quota_error(Refusal(budget=budget), now_s=NOON_S)
    assert (error.status, error.kind, error.code) == (429, "insufficient_quota", "insufficient_quota")
    assert message in error.message
    assert dict(error.headers) == headers


@pytest.mark.parametrize(("wait_s", "retry_after"), [(0.01, "1"), (1.0, "1"), (1.01, "2"), (59.2, "60")])
def test_retry_after_is_never_too_early(wait_s: float, retry_after: str) -> None:
    refusal = Refusal(rate=RateRefusal(limit="requests", wait_s=wait_s), rates=OWN)
    error = quota_error(refusal, now_s=NOON_S, uses=[(OWN, RateUse(requests=60, clear_s=NOON_S + 60))])
    assert (error.status, error.code) == (429, "rate_limit_exceeded")
    assert dict(error.headers)["retry-after"] == retry_after
    assert dict(error.headers)["x-ratelimit-remaining-requests"] == "0"
    assert "for this key on requests: 60 a minute" in error.message


def test_rate_of_team_is_named() -> None:
    refusal = Refusal(rate=RateRefusal(limit="tokens", wait_s=9.0), rates=TEAM)
    error = quota_error(refusal, now_s=NOON_S, uses=[(OWN, RateUse()), (TEAM, RateUse(tokens=95))])
    assert "for the team 'search' on tokens: 100 a minute" in error.message
    assert dict(error.headers)["x-ratelimit-remaining-tokens"] == "5"


def test_headers_are_of_the_limit_with_least_left() -> None:
    team = Rates(id="team:search", requests_per_minute=100)
    uses = [(OWN, RateUse(requests=7)), (team, RateUse(requests=90))]
    headers = dict(rate_headers(uses, NOON_S))
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("100", "10")


def test_headers_are_of_limits_that_exist() -> None:
    assert dict(rate_headers([(OWN, RateUse(requests=7, tokens=99, clear_s=NOON_S + 1.5))], NOON_S)) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "53",
        "x-ratelimit-reset-requests": "1.5s",
    }


def test_too_many_waiting_calls() -> None:
    assert quota_error(Refusal(), now_s=NOON_S).code == "rate_limit_exceeded"


def test_paused_batch_says_why() -> None:
    assert pause_fields(SPENT) == {
        "paused_at": int(NOON_S),
        "paused_reason": {
            "code": "insufficient_quota",
            "message": "Paused: the budget of this key, $50.00 a day, is spent. It renews at 2026-11-30T00:00:00Z. "
            "The batch goes on then, or once it is raised.",
            "renews_at": int(NOON_S) + 43_200,
        },
    }
    total = pause_fields(state(5 * 10**13))["paused_reason"]
    assert total is not None
    assert total["message"].endswith("is spent. The batch goes on once an administrator raises the budget.")
    (problem,) = json.loads(batch_errors(SPENT))["data"]
    assert (problem["code"], problem["line"], problem["param"]) == ("insufficient_quota", None, None)
    assert "window closed while the batch was paused" in problem["message"]
    assert expired_error(SPENT).code == "insufficient_quota"
