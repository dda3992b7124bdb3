"""Quotas as clients see them: errors, rate headers, and why a batch is paused."""

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypedDict

import msgspec

from meritorder.gateway.store.keys import Budget, Rates
from meritorder.gateway.store.quotas.admission import Refusal
from meritorder.gateway.store.quotas.budgets import BudgetState
from meritorder.gateway.wire.errors import ApiError
from meritorder.policy.rates import RateRefusal
from meritorder.units import PICOUSD_PER_USD, format_usd, utc

INSUFFICIENT_QUOTA: Final = "insufficient_quota"
_RATE_LIMIT_EXCEEDED: Final = "rate_limit_exceeded"
_RETRY_S: Final = 1
_REQUEST_HEADERS: Final = tuple(f"x-ratelimit-{what}-requests" for what in ("limit", "remaining", "reset"))
_TOKEN_HEADERS: Final = tuple(f"x-ratelimit-{what}-tokens" for what in ("limit", "remaining", "reset"))


class PauseFields(TypedDict):
    """The fields of a batch that say since when and why it waits."""

    paused_at: int | None
    paused_reason: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateUse:
    """What a key or a team has used in the last minute, and when nothing of it counts any more, epoch seconds."""

    requests: int = 0
    tokens: int = 0
    clear_s: float = 0.0


def quota_error(refusal: Refusal, *, now_s: float, uses: Sequence[tuple[Rates, RateUse]] = ()) -> ApiError:
    """Return the 429 of a call that the quotas of its key refuse.

    Args:
        refusal: Why.
        now_s: Epoch seconds.
        uses: The rate limits of the key and its team, with what of them is used.
    """
    if refusal.rate is not None and refusal.rates is not None:
        return _rate_error(refusal.rates, refusal.rate, uses, now_s)
    state = refusal.budget
    if state is None:
        message = "Too many calls of this key wait at one time. Please try again later."
        return ApiError(429, message, code=_RATE_LIMIT_EXCEEDED, headers=(("retry-after", str(_RETRY_S)),))
    if state.is_spent:
        headers = [("x-should-retry", "false")]  # official clients would retry at once
        if state.renews_s is not None:
            headers.append(("retry-after", str(math.ceil(max(1.0, state.renews_s - now_s)))))
        return _budget_error(f"You exceeded your current quota: {spent_reason(state)}", headers)
    reserved = f"What is left of the budget of {state.budget.owner} is reserved for other calls."
    return _budget_error(f"{reserved} Please try again when they have ended.", [("retry-after", str(_RETRY_S))])


def spent_reason(state: BudgetState) -> str:
    """Return in a sentence that a budget is spent, and when it renews."""
    reason = f"the budget of {state.budget.owner}, {format_budget(state.budget)}, is spent."
    return reason if state.renews_s is None else f"{reason} It renews at {utc(state.renews_s):%Y-%m-%dT%H:%M:%SZ}."


def format_budget(budget: Budget) -> str:
    """Return a budget as `$50 a day`, or `$50` without a period."""
    amount = format_usd(Decimal(budget.amount_picousd) / PICOUSD_PER_USD)
    return amount if budget.period is None else f"{amount} {'an' if budget.period == 'hour' else 'a'} {budget.period}"


def pause_fields(state: BudgetState) -> PauseFields:
    """Return the fields of a batch that waits because a budget is spent."""
    until = "once an administrator raises the budget" if state.renews_s is None else "then, or once it is raised"
    return {
        "paused_at": None if state.exhausted_s is None else int(state.exhausted_s),
        "paused_reason": {
            "code": INSUFFICIENT_QUOTA,
            "message": f"Paused: {spent_reason(state)} The batch goes on {until}.",
            "renews_at": None if state.renews_s is None else int(state.renews_s),
        },
    }


def batch_errors(state: BudgetState) -> str:
    """Return the `errors` of a batch whose window closed while a budget was spent, as JSON."""
    message = f"The completion window closed while the batch was paused: {spent_reason(state)}"
    error = {"code": INSUFFICIENT_QUOTA, "line": None, "message": message, "param": None}
    return msgspec.json.encode({"object": "list", "data": [error]}).decode()


def expired_error(state: BudgetState) -> ApiError:
    """Return the 429 of a queued call whose deadline passed while a budget was spent."""
    return _budget_error(f"The deadline of this request passed while it waited: {spent_reason(state)}", [])


def rate_headers(uses: Sequence[tuple[Rates, RateUse]], now_s: float) -> tuple[tuple[str, str], ...]:
    """Return OpenAI's headers on rate limits: the limit of which least is left, what is left, and when all of it is."""
    requests = [(most - use.requests, most, use) for rates, use in uses if (most := rates.requests_per_minute)]
    tokens = [(most - use.tokens, most, use) for rates, use in uses if (most := rates.tokens_per_minute)]
    headers: list[tuple[str, str]] = []
    for names, limits in ((_REQUEST_HEADERS, requests), (_TOKEN_HEADERS, tokens)):
        if limits:
            left, most, use = min(limits, key=lambda limit: limit[0])
            reset = f"{max(0.0, use.clear_s - now_s):.3g}s"
            headers += zip(names, (str(most), str(max(0, left)), reset), strict=True)
    return tuple(headers)


def event_fields(state: BudgetState) -> dict[str, Any]:
    """Return what the event of a soft limit says about a budget."""
    budget = state.budget
    return {
        "budget_usd": dollars(budget.amount_picousd),
        "spent_usd": dollars(state.spent_picousd),
        "soft_limit": budget.soft_share,
        "period": budget.period,
        "renews_at": None if state.renews_s is None else dt.datetime.fromtimestamp(state.renews_s, dt.UTC).isoformat(),
    }


def budget_fields(state: BudgetState) -> dict[str, Any]:
    """Return a budget, what of it is spent, reserved and left, and when it renews."""
    return {
        **event_fields(state),
        "reserved_usd": dollars(state.reserved_picousd),
        "left_usd": dollars(state.left_picousd),
        "time_zone": state.budget.time_zone,
    }


def dollars(picousd: int) -> str:
    """Return dollars as text, without rounding."""
    return f"{(Decimal(picousd) / PICOUSD_PER_USD).normalize():f}"


def _rate_error(rates: Rates, refusal: RateRefusal, uses: Sequence[tuple[Rates, RateUse]], now_s: float) -> ApiError:
    limit = rates.requests_per_minute if refusal.limit == "requests" else rates.tokens_per_minute
    return ApiError(
        429,
        f"Rate limit reached for {rates.owner} on {refusal.limit}: {limit} a minute. "
        f"Please try again in {refusal.wait_s:.3g}s.",
        code=_RATE_LIMIT_EXCEEDED,
        headers=(("retry-after", str(math.ceil(max(1.0, refusal.wait_s)))), *rate_headers(uses, now_s)),
    )


def _budget_error(message: str, headers: list[tuple[str, str]]) -> ApiError:
    return ApiError(429, message, kind=INSUFFICIENT_QUOTA, code=INSUFFICIENT_QUOTA, headers=tuple(headers))
