"""Observes how long the steps of an engine take, from the tokens of the streams that this gateway has there."""

from typing import Final

from meritorder.gateway.venues.venues import RunningRequest, Venue
from meritorder.gateway.wire.usage import StreamMeter
from meritorder.policy.saturation import StepTimes, observe

_WINDOW_S: Final = 2.0
_MAX_WINDOW_S: Final = 4.0  # a window with a gap, as the first one, shows nothing
_MIN_TOKENS: Final = 8

Stream = RunningRequest | StreamMeter


class StepMeter:
    """Adds up sequences and tokens in windows, and discards those that do not show what the engine can do.

    A window counts if the engine was busy throughout with streams of this gateway alone.
    """

    def __init__(self) -> None:
        self.times = StepTimes()
        self._seen: dict[Stream, int] = {}
        self._sequences = 0
        self._sampled_s = float("-inf")
        self._begin()

    def sample(self, venue: Venue, *, foreign: int, now_s: float) -> None:
        """Add what happened at a venue since the last sample.

        Args:
            venue: The venue.
            foreign: Sequences there from other clients.
            now_s: Monotonic.
        """
        elapsed_s = now_s - self._sampled_s
        streams: dict[Stream, int] = {running: running.tokens for running in venue.deferrable}
        streams |= {meter: meter.events for meter in venue.pace.meters}
        # A stream that has ended since then still counts its last tokens.
        self._tokens += sum(_tokens(stream) - before for stream, before in self._seen.items())
        self._tokens += sum(tokens for stream, tokens in streams.items() if stream not in self._seen)
        sequences = len(venue.deferrable) + venue.realtime
        hidden = venue.realtime - venue.prefilling - len(venue.pace.meters)
        self._valid &= min(sequences, self._sequences) > 0 and hidden <= 0 and foreign == 0
        self._sequence_s += elapsed_s * (sequences + self._sequences) / 2
        self._elapsed_s += elapsed_s
        self._seen, self._sequences, self._sampled_s = streams, sequences, now_s
        if self._elapsed_s >= _WINDOW_S:
            if self._valid and self._elapsed_s < _MAX_WINDOW_S and self._tokens >= _MIN_TOKENS:
                sequences_mean = self._sequence_s / self._elapsed_s
                self.times = observe(self.times, sequences_mean, self._sequence_s / self._tokens)
            self._begin()

    def _begin(self) -> None:
        self._tokens = 0
        self._sequence_s = self._elapsed_s = 0.0
        self._valid = True


def _tokens(stream: Stream) -> int:
    return stream.tokens if isinstance(stream, RunningRequest) else stream.events
