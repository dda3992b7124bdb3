"""How many sequences saturate an engine, fitted to the output of its streams.

A step of n sequences takes about a + b n seconds: a to read the weights, b for the work of one sequence with its share
of the prefills. The engine then generates n / (a + b n) tokens per second. Where a dominates, as on an accelerator,
each sequence adds output; where b does, as on a processor, one sequence saturates the engine, and every further one
only makes the others wait.

The fit is an ordinary least-squares line through windows of a few seconds, in which old windows fade.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

_KEPT_SHARE: Final = 0.99  # of a window's weight that remains after the next one
_MIN_SPREAD: Final = 0.25  # of the squared relative spread of sequences that makes a slope


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """Weighted moments of the step times observed so far; the empty record at first.

    Args:
        weight: Total weight of the windows.
        sequences: Mean sequences in a window.
        step_s: Mean time of a step.
        spread: Weighted sum of squared deviations of the sequences from their mean.
        step_s_spread: The same of the step times.
        covariance: Weighted sum of the products of both deviations.
    """

    weight: float = 0.0
    sequences: float = 0.0
    step_s: float = 0.0
    spread: float = 0.0
    step_s_spread: float = 0.0
    covariance: float = 0.0

    @property
    def conclusive(self) -> bool:
        """Whether the number of sequences varied enough to tell its effect."""
        return self.spread >= _MIN_SPREAD * self.sequences**2 > 0


def observe(times: StepTimes, sequences: float, step_s: float) -> StepTimes:
    """Add a window in which the engine was busy throughout.

    Args:
        times: What was observed before.
        sequences: Mean sequences in the window, those in prefill included.
        step_s: Sequence-seconds per output token in it.
    """
    kept = replace(
        times,
        weight=_KEPT_SHARE * times.weight,
        spread=_KEPT_SHARE * times.spread,
        step_s_spread=_KEPT_SHARE * times.step_s_spread,
        covariance=_KEPT_SHARE * times.covariance,
    )
    weight = kept.weight + 1.0
    by_sequences, by_step_s = sequences - kept.sequences, step_s - kept.step_s
    share = kept.weight / weight
    return StepTimes(
        weight=weight,
        sequences=kept.sequences + by_sequences / weight,
        step_s=kept.step_s + by_step_s / weight,
        spread=kept.spread + share * by_sequences**2,
        step_s_spread=kept.step_s_spread + share * by_step_s**2,
        covariance=kept.covariance + share * by_sequences * by_step_s,
    )


def saturating_sequences(times: StepTimes, share: float, max_sequences: int) -> int | None:
    """Return the fewest sequences with a share of the output of a full engine; None if too little was observed.

    Args:
        times: What was observed.
        share: Share of the tokens per second that `max_sequences` generate.
        max_sequences: Most sequences of the engine.
    """
    if not times.conclusive:
        return None
    per_sequence_s = max(0.0, _highest_slope(times))
    base_s = times.step_s - per_sequence_s * times.sequences
    if base_s <= 0.0:  # more sequences take proportionally longer, or longer than that
        return 1
    full_s = base_s + per_sequence_s * max_sequences
    needed = share * base_s * max_sequences / (full_s - share * per_sequence_s * max_sequences)
    return min(max_sequences, max(1, math.ceil(needed - 1e-9)))


def _highest_slope(times: StepTimes) -> float:
    """Return the slope plus its standard error: in doubt, fewer sequences."""
    slope = times.covariance / times.spread
    unexplained = max(0.0, times.step_s_spread - slope * times.covariance)
    return slope + math.sqrt(unexplained / (max(1.0, times.weight - 2.0) * times.spread))
