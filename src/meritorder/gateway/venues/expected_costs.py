"""The most that calls are expected to cost, to reserve it before they start."""

from typing import Final

from meritorder.gateway.venues.venues import Venue, Venues
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.calls import CallFields
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
        self._priced: dict[str, list[Venue]] = {
            model: [venue for venue in venues.all if model in venue.served and venue.table.price is not None]
            for model in venues.models()
        }

    def picousd(self, endpoint: str, call: CallFields, body_bytes: int) -> int:
        """Return the most that a call is expected to cost; 0 if no venue of its model has a price."""
        venues = self._priced.get(call.model or "")
        if not venues:
            return 0
        limit, choices = calls.output_bound(endpoint, call)
        most, input_tokens = 0, calls.most_input_tokens(body_bytes)
        for venue in venues:
            output_tokens = (venue.table.max_output_tokens or DEFAULT_OUTPUT_TOKENS) if limit is None else limit
            usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens * choices)
            most = max(most, venue.cost_picousd(usage) or 0)
        return min(most, _MAX_PICOUSD)
