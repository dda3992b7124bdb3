"""The pace of the streams that are under way, known long before they end."""

from collections import deque
from typing import Final

from meritorder.gateway.wire.usage import StreamMeter

_LOOKS: Final = 4
_FEWEST_TOKENS: Final = 4


class Pace:
    """Looks at streams again and again, and tells how long their tokens take: those of all streams over a few looks."""

    def __init__(self) -> None:
        self._events: dict[StreamMeter, int] = {}
        self._looked_s = 0.0
        self._lately: deque[tuple[float, int]] = deque(maxlen=_LOOKS)

    def begin(self, meter: StreamMeter) -> None:
        """Take a stream in, at its first token."""
        self._events[meter] = -1

    def end(self, meter: StreamMeter) -> None:
        """Let a stream go."""
        self._events.pop(meter, None)

    def look(self, now_s: float) -> float | None:
        """Return the time per token over the last looks; None where too little was made to tell."""
        passed_s, made, streams = now_s - self._looked_s, 0, 0
        for meter, before in self._events.items():
            if before >= 0:
                made += meter.events - before
                streams += 1
            self._events[meter] = meter.events
        self._looked_s = now_s
        self._lately.append((passed_s * streams, made))
        tokens = sum(each for _, each in self._lately)
        return sum(each for each, _ in self._lately) / tokens if tokens >= _FEWEST_TOKENS else None
