"""A calibrated profile as text: its parameters, and its errors on requests that it was not fitted to."""

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from meritorder.perf.profile import Calibration, Profile

_ASSUMED: Final = {
    "max_num_seqs": "the log never fills a step with sequences; no larger batch than it shows is assumed",
    "max_num_batched_tokens": "the log does not show how many tokens a step can hold",
}


def render(profiles: Sequence[Profile], console: Console) -> None:
    """Print the errors and the fitted parameters of each profile."""
    for profile in profiles:
        if profile.calibration is not None:
            _render(profile, profile.calibration, console)


def _render(profile: Profile, calibration: Calibration, console: Console) -> None:
    table = Table("", "error of the mean", "median error", "p90 error", box=None, title_justify="left")
    table.title = f"{escape(profile.replica.label)}: errors on {judged(calibration)}"
    for name, errors in (("TTFT", calibration.ttft), ("TPOT", calibration.tpot), ("E2E", calibration.e2e)):
        table.add_row(name, f"{errors.of_mean:+.1%}", f"{errors.median:.1%}", f"{errors.p90:.1%}")
    console.print(table)
    scales = ", ".join(f"{name} {value:.4g}" for name, value in calibration.parameters.items())
    console.print(f"fitted to {escape(fitted(calibration))}: {scales}", style="dim")
    if profile.limits is not None:
        limits = profile.limits
        text = f"max_num_seqs {limits.max_num_seqs}, max_num_batched_tokens {limits.max_num_batched_tokens}"
        console.print(f"limits per replica, {calibration.replicas} in the log: {text}", style="dim")
    if calibration.columns:
        console.print(f"read as {escape(calibration.columns)}", style="dim", highlight=False)
    for text in assumptions(calibration):
        console.print(f"assumed: {escape(text)}", highlight=False)
    console.print()


def judged(calibration: Calibration) -> str:
    """Return on which requests the errors were measured."""
    unseen = "that it was not fitted to" if calibration.unseen else "that it was fitted to: the log is short"
    return f"{calibration.judged_on:,} requests {unseen}"


def fitted(calibration: Calibration) -> str:
    """Return what the parameters were fitted to."""
    return f"the first {calibration.fitted_on:,} requests of {calibration.log}"


def assumptions(calibration: Calibration) -> list[str]:
    """Return what was assumed, and how to state it."""
    return [
        *calibration.notes,
        *(f"{name}, since {_ASSUMED[name]}; state it with --{name.replace('_', '-')}" for name in calibration.assumed),
    ]
