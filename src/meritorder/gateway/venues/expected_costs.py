"""The most that calls are expected to cost, to reserve it before they start."""

from typing import Final

from meritorder.gateway.config import DEFERRABLE, REALTIME
from meritorder.gateway.venues.venues import Venues
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.usage import Usage
from meritorder.units import PICOUSD_PER_USD

DEFAULT_OUTPUT_TOKENS: Final = 4096
"""Output tokens that are reserved for a call that sets no limit, at a venue that states none."""
_MAX_PICOUSD: Final = 1000 * PICOUSD_PER_USD  # of a call that asks for absurdly many tokens


class ExpectedCosts:
    """The most that calls are expected to cost at any venue of their model.

    Args:
        venues: The venues.
    """

    def __init__(self, venues: Venues) -> None:
        self._venues = venues

    def picousd(self, endpoint: str, model: str, body: bytes) -> int:
        """Return the most that a call is expected to cost; 0 if no venue of its model has a price."""
        most = 0
        input_tokens = calls.most_input_tokens(len(body))
        for venue in (*self._venues.serving(model, REALTIME), *self._venues.serving(model, DEFERRABLE)):
            limit = venue.table.max_output_tokens or DEFAULT_OUTPUT_TOKENS
            output_tokens = calls.most_output_tokens(endpoint, body, limit)
            usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
            most = max(most, venue.cost_picousd(usage) or 0)
        return min(most, _MAX_PICOUSD)
