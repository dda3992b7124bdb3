"""Classification of calls into lanes: real time, unless the call, its key, a rule or the plan defers it."""

from collections.abc import Callable
from typing import Final

from meritorder.deadlines import Deadline, Instant, parse_deadline
from meritorder.errors import WorkloadsError
from meritorder.gateway.config import RuleTable, Settings, duration_s
from meritorder.gateway.state.request import Deferral
from meritorder.gateway.store.keys import Key
from meritorder.gateway.wire.calls import CallFields
from meritorder.gateway.wire.errors import ApiError, invalid_request
from meritorder.units import parse_duration_s

HEADER: Final = b"meritorder-deadline"
_FLEX: Final = "flex"
_SOONEST: Final = "soonest"

PlannedDeferral = Callable[[CallFields, Key, float], Deferral | None]


class LaneClassifier:
    """Classifies calls by, in this order: header, background, service tier, key, rules, plan.

    Args:
        settings: The configuration.
        planned: Returns the plan's deferral of a call.
    """

    def __init__(self, settings: Settings, planned: PlannedDeferral = lambda *_: None) -> None:
        self._planned = planned
        self._lanes = settings.lanes
        self._max_window_s = duration_s(settings.limits.longest_window)
        self._flex_s = duration_s(settings.lanes.flex_deadline)
        self._background_s = duration_s(settings.lanes.background_window)
        self._rules = [(rule, parse_deadline(rule.deadline)) for rule in settings.rule if not rule.by_client]

    def classify(
        self, call: CallFields, key: Key, endpoint: str, header: bytes | None, now_s: float
    ) -> Deferral | None:
        """Return the deferral of a call; None for a real-time call.

        Raises:
            ApiError: The header is not a deadline, or not one that the configuration accepts.
        """
        if header is not None:
            return Deferral(deadline_s=self._due_s(header.decode("latin-1"), now_s), workload="header")
        if call.background:
            return Deferral(deadline_s=now_s + self._window_s(call), workload="background")
        if call.service_tier == _FLEX:
            return Deferral(deadline_s=now_s + self._flex_s, workload=_FLEX)
        if key.deadline is not None:
            return _deferral(parse_deadline(key.deadline), key.name, now_s)
        for rule, deadline in self._rules:
            if _matches(rule, call, key, endpoint):
                return _deferral(deadline, rule.workload or None, now_s)
        return self._planned(call, key, now_s)

    @property
    def refuses_flex(self) -> bool:
        """Whether flex calls are refused if there is no idle capacity, instead of deferred."""
        return self._lanes.flex == "refuse"

    def _window_s(self, call: CallFields) -> float:
        window = call.background_options.completion_window if call.background_options else None
        if window is None:
            return self._background_s
        if window == _SOONEST:
            return self._flex_s
        seconds = parse_duration_s(window)
        if not seconds or seconds > self._max_window_s:
            raise invalid_request(
                f"Invalid value: '{window}'. Write 'soonest', or a duration such as '24h' up to the longest window.",
                param="background_options.completion_window",
                code="invalid_value",
            )
        return seconds

    def _due_s(self, text: str, now_s: float) -> float:
        try:
            deadline = parse_deadline(text)
        except WorkloadsError as error:
            raise _refused(str(error)) from None
        if isinstance(deadline, Instant) and not deadline.has_time_zone:
            raise _refused(f"The deadline {text!r} has no time zone. Write 2026-11-24T06:00:00Z.")
        due_s = deadline.due_s(now_s)
        if due_s <= now_s:
            raise _refused(f"The deadline {text!r} is in the past.")
        if due_s - now_s > self._max_window_s:
            raise _refused(f"The deadline {text!r} is too far away.")
        return due_s


def no_capacity() -> ApiError:
    """Return OpenAI's answer to a flex call without idle capacity."""
    return ApiError(
        429,
        "There is no idle capacity now. Try again later, or use the standard service tier.",
        kind="resource_unavailable",
        code="resource_unavailable",
    )


def _deferral(deadline: Deadline, workload: str | None, now_s: float) -> Deferral | None:
    """Return a deferral until a deadline; None once that is past."""
    due_s = deadline.due_s(now_s)
    return Deferral(deadline_s=due_s, workload=workload) if due_s > now_s else None


def _refused(message: str) -> ApiError:
    return invalid_request(message, param="Meritorder-Deadline", code="invalid_value")


def _matches(rule: RuleTable, call: CallFields, key: Key, endpoint: str) -> bool:
    return (
        (rule.model is None or rule.model == call.model)
        and (rule.tenant is None or rule.tenant == key.tenant)
        and (rule.key is None or rule.key in {key.id, key.name})
        and (rule.endpoint is None or rule.endpoint == endpoint)
    )
