"""Which lane a call is in: real time, unless somebody says that it can wait."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from meritorder.gateway.config import Rule, Settings, duration_s
from meritorder.gateway.store.keys import Key
from meritorder.gateway.wire.problems import Problem, invalid
from meritorder.gateway.wire.request import CallFields
from meritorder.units import parse_duration_s

HEADER: Final = b"meritorder-deadline"
_FLEX: Final = "flex"
_SOONEST: Final = "soonest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferral:
    """A call that can wait.

    Args:
        deadline_s: When it must be done, epoch seconds.
        workload: Name in the ledger.
    """

    deadline_s: float
    workload: str | None = None


Planned = Callable[[CallFields, Key, float], Deferral | None]


class Lanes:
    """The rules of a configuration, in the order: header, background, service tier, key, rule, plan.

    Args:
        settings: The configuration.
        planned: Asked last: until when a call can wait as the plan has it.
    """

    def __init__(self, settings: Settings, planned: Planned = lambda *_: None) -> None:
        self._planned = planned
        self._lanes = settings.lanes
        self._longest_s = duration_s(settings.limits.longest_window)
        self._flex_s = duration_s(settings.lanes.flex_deadline)
        self._background_s = duration_s(settings.lanes.background_window)
        self._rules = [(rule, duration_s(rule.deadline)) for rule in settings.rule if not rule.by_client]

    def deferral(
        self, call: CallFields, key: Key, endpoint: str, header: bytes | None, now_s: float
    ) -> Deferral | None:
        """Return until when a call can wait; None for one that cannot.

        Raises:
            Problem: The header is no time; or flex is asked for, and it is refused here.
        """
        if header is not None:
            return Deferral(deadline_s=self._time_s(header.decode("latin-1"), now_s), workload="header")
        if call.background:
            return Deferral(deadline_s=now_s + self._window_s(call), workload="background")
        if call.service_tier == _FLEX:
            return Deferral(deadline_s=now_s + self._flex_s, workload=_FLEX)
        if key.deadline is not None:
            return Deferral(deadline_s=now_s + duration_s(key.deadline), workload=key.name)
        for rule, seconds in self._rules:
            if _matches(rule, call, key, endpoint):
                return Deferral(deadline_s=now_s + seconds, workload=rule.workload or None)
        return self._planned(call, key, now_s)

    @property
    def refuses_flex(self) -> bool:
        """Whether flex calls get 429 where there is no idle capacity, instead of being held."""
        return self._lanes.flex == "refuse"

    def _window_s(self, call: CallFields) -> float:
        window = call.background_options.completion_window if call.background_options else None
        if window is None:
            return self._background_s
        if window == _SOONEST:
            return self._flex_s
        seconds = parse_duration_s(window)
        if not seconds or seconds > self._longest_s:
            raise invalid(
                f"Invalid value: '{window}'. Write 'soonest', or a duration such as '24h' up to the longest window.",
                param="background_options.completion_window",
                code="invalid_value",
            )
        return seconds

    def _time_s(self, text: str, now_s: float) -> float:
        seconds = parse_duration_s(text)
        if seconds is None:
            try:
                moment = dt.datetime.fromisoformat(text.strip())
            except ValueError:
                raise _not_a_time(text) from None
            if moment.tzinfo is None:
                raise _not_a_time(text)
            seconds = moment.timestamp() - now_s
        if seconds <= 0:
            raise invalid(f"The deadline {text!r} is over.", param="Meritorder-Deadline", code="invalid_value")
        if seconds > self._longest_s:
            raise invalid(f"The deadline {text!r} is too far away.", param="Meritorder-Deadline", code="invalid_value")
        return now_s + seconds


def no_capacity() -> Problem:
    """Return OpenAI's answer to a flex call when there is no capacity to spare."""
    return Problem(
        429,
        "There is no idle capacity now. Try again later, or use the standard service tier.",
        kind="resource_unavailable",
        code="resource_unavailable",
    )


def _not_a_time(text: str) -> Problem:
    return invalid(
        f"{text!r} is neither a duration nor a time; write 4h, or 2026-11-24T06:00:00Z.",
        param="Meritorder-Deadline",
        code="invalid_value",
    )


def _matches(rule: Rule, call: CallFields, key: Key, endpoint: str) -> bool:
    return (
        (rule.model is None or rule.model == call.model)
        and (rule.tenant is None or rule.tenant == key.tenant)
        and (rule.key is None or rule.key in {key.id, key.name})
        and (rule.endpoint is None or rule.endpoint == endpoint)
    )
