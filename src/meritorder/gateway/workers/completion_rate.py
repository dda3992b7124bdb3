"""How fast waiting work is done: what the latest start is reckoned from."""

import math
from collections import deque
from typing import Final

_WINDOW_S: Final = 60.0


class CompletionRate:
    """Tokens answered a second, over the last minute in which there were any."""

    def __init__(self) -> None:
        self._answered: deque[tuple[float, int]] = deque()
        self._known = math.inf

    def add(self, now_s: float, tokens: int) -> None:
        """Note an answer."""
        self._answered.append((now_s, tokens))
        while self._answered[0][0] < now_s - _WINDOW_S:
            self._answered.popleft()

    def tokens_per_s(self, now_s: float) -> float:
        """Return the rate; the last that was known while nothing is answered, and infinite while none is known."""
        while self._answered and self._answered[0][0] < now_s - _WINDOW_S:
            self._answered.popleft()
        if len(self._answered) >= 2:
            span_s = max(1.0, now_s - self._answered[0][0])
            self._known = sum(tokens for _, tokens in self._answered) / span_s
        return self._known
