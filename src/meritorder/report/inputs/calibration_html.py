"""Calibrated profiles as one HTML file that needs no network and runs no script."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from meritorder.perf.profile import Calibration, Errors, Profile
from meritorder.report.inputs.calibration import assumptions, fitted, judged
from meritorder.report.page import fill
from meritorder.units import format_duration, format_share

_TEMPLATE: Final = "calibration.html.j2"
_SCHEMA: Final = "meritorder.profile"
_MEANING: Final = {
    "decode_scale": "The time that every step takes at least, to read the weights, relative to the table",
    "kv_scale": "What each token of context adds to a decode step, relative to the table",
    "prefill_scale": "What prompt tokens add to a step, relative to the table",
    "kv_capacity_scale": "The memory for context, relative to the table",
    "sequence_overhead_s": "Added to a decode step for each sequence in it",
    "step_overhead_s": "Added to every step",
    "request_overhead_s": "Added to each request before its first token",
}
# The scale of the figure ends this far beyond the ratio that is furthest from 1, and no closer than a tenth.
_MARGIN: Final = 1.2
_LEAST_SPAN: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A stretch of consecutive requests: measured / simulated TPOT, and its place in the figure in percent."""

    number: int
    ratio: str
    x: float
    y: float


def render(profiles: Sequence[Profile]) -> str:
    """Return the whole page, with all text of the user escaped."""
    fits = [_fit(profile, profile.calibration) for profile in profiles if profile.calibration is not None]
    return fill(_TEMPLATE, None, schema=_SCHEMA, fits=fits)


def _fit(profile: Profile, calibration: Calibration) -> dict[str, Any]:
    limits = profile.limits
    return {
        "name": profile.replica.label,
        "judged": judged(calibration),
        "fitted": fitted(calibration),
        "sentence": _sentence(calibration),
        "headline": [
            ("Mean TTFT", *_figure(calibration.ttft)),
            ("Mean TPOT", *_figure(calibration.tpot)),
            ("Mean E2E latency", *_figure(calibration.e2e)),
        ],
        "stretches": _stretches(calibration.pace_ratios),
        "levels": _levels(calibration.pace_ratios),
        "parameters": [(name, _value(name, value), _MEANING[name]) for name, value in calibration.parameters.items()],
        "limits": [
            ("Sequences in a step, max_num_seqs", f"{limits.max_num_seqs:,}"),
            ("Tokens in a step, max_num_batched_tokens", f"{limits.max_num_batched_tokens:,}"),
        ]
        if limits
        else [],
        "replicas": calibration.replicas,
        "columns": calibration.columns,
        "assumed": assumptions(calibration),
        "source": profile.source,
    }


def _sentence(calibration: Calibration) -> str:
    e2e = calibration.e2e
    return (
        f"On {judged(calibration)}, this profile is {format_share(abs(e2e.of_mean), 1)} too "
        f"{'fast' if e2e.of_mean < 0 else 'slow'} on average, and at most {format_share(e2e.median, 1)} off for half "
        "of them."
    )


def _figure(errors: Errors) -> tuple[str, str]:
    """Return the error of the mean, and those of single requests."""
    sign = "\N{MINUS SIGN}" if errors.of_mean < 0 else "+"
    single = f"half of the requests within {format_share(errors.median, 1)}, nine in ten within"
    return f"{sign}{format_share(abs(errors.of_mean), 1)}", f"{single} {format_share(errors.p90, 1)}"


def _value(name: str, value: float) -> str:
    return format_duration(value) if name.endswith("_s") else f"{value:.3g}\N{MULTIPLICATION SIGN}"


def _span(ratios: Sequence[float]) -> float:
    return max([_LEAST_SPAN, *(_MARGIN * abs(ratio - 1) for ratio in ratios)])


def _stretches(ratios: Sequence[float]) -> list[Stretch]:
    """Return the stretches from left to right, on a scale with 1 in its middle."""
    step, span = 100 / max(1, len(ratios)), _span(ratios)
    return [
        Stretch(number=number + 1, ratio=f"{ratio:.2f}", x=step * (number + 0.5), y=50 * (1 - (ratio - 1) / span))
        for number, ratio in enumerate(ratios)
    ]


def _levels(ratios: Sequence[float]) -> list[tuple[float, str]]:
    """Return the lines across the figure: percent from the top, and the ratio."""
    span = _span(ratios)
    return [(0.0, f"{1 + span:.2f}"), (50.0, "1"), (100.0, f"{1 - span:.2f}")]
