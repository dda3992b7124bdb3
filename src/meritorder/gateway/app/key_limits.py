"""Limits of keys and teams as people write them: `50/day`, `600`, `80%`; `none` removes a limit."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from meritorder.errors import ConfigError
from meritorder.gateway.store.keys import Budget
from meritorder.policy.budgets import PERIODS
from meritorder.units import PICOUSD_PER_USD

_NONE: Final = "none"
_MAX_BUDGET_USD: Final = 9_000_000  # picodollars are stored in 64 bits
_MAX_RATE: Final = 2**31 - 1
_BUDGET: Final = re.compile(r"\$?([0-9]{1,9}(?:\.[0-9]{1,12})?)(?:/([a-z]+))?")
_RATE: Final = re.compile(r"[0-9]{1,10}")
_SHARE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """Limits as given; None leaves a limit as it is, `none` removes it.

    Args:
        budget: Dollars, or dollars a period.
        time_zone: In which periods begin.
        soft_limit: Percent of the budget at which an event is sent.
        webhook: URL of the receiver of that event.
        requests_per_minute: A whole number.
        tokens_per_minute: A whole number.
    """

    budget: str | None = None
    time_zone: str | None = None
    soft_limit: str | None = None
    webhook: str | None = None
    requests_per_minute: str | None = None
    tokens_per_minute: str | None = None

    def rates(self) -> dict[str, Any]:
        """Return the columns of a key that change.

        Raises:
            ConfigError: A rate is invalid.
        """
        given = {"requests_per_minute": self.requests_per_minute, "tokens_per_minute": self.tokens_per_minute}
        return {name: _rate(name, text) for name, text in given.items() if text is not None}

    def changes_budget(self) -> bool:
        """Tell whether the budget, or anything that belongs to it, is given."""
        return any(text is not None for text in (self.budget, self.time_zone, self.soft_limit, self.webhook))

    def apply_to(self, current: Budget | None, budget_id: str, tenant: str | None) -> Budget | None:
        """Return the budget that comes of the current one; None for none.

        Raises:
            ConfigError: A value is invalid, or there is no budget that it could belong to.
        """
        if self.budget == _NONE:
            return None
        values: dict[str, Any] = {"id": budget_id, "tenant": tenant}
        if current is not None:
            values = {name: getattr(current, name) for name in Budget.__dataclass_fields__} | values
        if self.budget is not None:
            values["amount_picousd"], values["period"] = parse_budget(self.budget)
        elif current is None:
            option = next(name for name, text in self._options() if text is not None)
            raise ConfigError("there is no budget that it could belong to", where=option, fix="give --budget too")
        if self.time_zone is not None:
            values["time_zone"] = _time_zone(self.time_zone)
        if self.soft_limit is not None:
            values["soft_share"] = None if self.soft_limit == _NONE else _share(self.soft_limit)
        if self.webhook is not None:
            values["webhook"] = None if self.webhook == _NONE else self.webhook
        return Budget(**values)

    def _options(self) -> tuple[tuple[str, str | None], ...]:
        return ("--time-zone", self.time_zone), ("--soft-limit", self.soft_limit), ("--webhook", self.webhook)


def parse_budget(text: str) -> tuple[int, str | None]:
    """Return picodollars and period of a budget: `50`, `50/day`.

    Raises:
        ConfigError: It is not a budget.
    """
    found = _BUDGET.fullmatch(text.strip())
    picousd = int(Decimal(found.group(1)) * PICOUSD_PER_USD) if found else 0
    if found is None or not 0 < picousd <= _MAX_BUDGET_USD * PICOUSD_PER_USD:
        fix = f"write dollars above 0 and up to {_MAX_BUDGET_USD:,}: 50, or 50/day"
        raise ConfigError(f"{text!r} is not a budget", where="--budget", fix=fix)
    period = found.group(2)
    if period is not None and period not in PERIODS:
        fix = f"the periods are {', '.join(PERIODS)}: write 50/day"
        raise ConfigError(f"unknown period {period!r}", where="--budget", fix=fix)
    return picousd, period


def _rate(name: str, text: str) -> int | None:
    if text == _NONE:
        return None
    if not _RATE.fullmatch(text.strip()) or not 1 <= int(text) <= _MAX_RATE:
        option = f"--{name.replace('_', '-')}"
        raise ConfigError(f"{text!r} is not a rate", where=option, fix=f"write a whole number from 1 to {_MAX_RATE:,}")
    return int(text)


def _share(text: str) -> float:
    found = _SHARE.fullmatch(text.strip())
    if found is None or not 0 < float(found.group(1)) <= 100:
        raise ConfigError(f"{text!r} is not a share of the budget", where="--soft-limit", fix="write 80%")
    return float(found.group(1)) / 100


def _time_zone(name: str) -> str:
    try:
        if name != "UTC":
            ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        fix = "write a name such as UTC or Europe/Berlin"
        raise ConfigError(f"unknown time zone {name!r}", where="--time-zone", fix=fix) from None
    return name
