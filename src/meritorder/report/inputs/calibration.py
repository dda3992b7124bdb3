"""A calibrated profile as text: its parameters, and its errors on requests that it was not fitted to."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from meritorder.perf.profile import Calibration, Profile

_MEANING = {
    "max_num_seqs": "the log never fills a step with sequences; no larger batch than it shows is assumed",
    "max_num_batched_tokens": "the log does not show how many tokens a step can hold",
}


def render(profiles: Sequence[Profile], console: Console) -> None:
    """Print the errors and the fitted parameters of each profile."""
    for profile in profiles:
        if profile.calibration is not None:
            _render(profile, profile.calibration, console)


def _render(profile: Profile, calibration: Calibration, console: Console) -> None:
    unseen = "that it was not fitted to" if calibration.unseen else "that it was fitted to: the log is short"
    table = Table("", "error of the mean", "median error", "p90 error", box=None, title_justify="left")
    table.title = f"{escape(profile.replica.label)}: errors on {calibration.judged_on} requests {unseen}"
    for name, errors in (("TTFT", calibration.ttft), ("TPOT", calibration.tpot), ("E2E", calibration.e2e)):
        table.add_row(name, f"{errors.of_mean:+.1%}", f"{errors.median:.1%}", f"{errors.p90:.1%}")
    console.print(table)
    scales = ", ".join(f"{name} {value:.4g}" for name, value in calibration.parameters.items())
    console.print(f"fitted to the first {calibration.fitted_on} requests of {calibration.log}: {scales}", style="dim")
    if profile.limits is not None:
        limits = profile.limits
        text = f"max_num_seqs {limits.max_num_seqs}, max_num_batched_tokens {limits.max_num_batched_tokens}"
        console.print(f"limits per replica, {calibration.replicas} in the log: {text}", style="dim")
    if calibration.columns:
        console.print(f"read as {escape(calibration.columns)}", style="dim", highlight=False)
    for text in calibration.notes:
        console.print(f"assumed: {escape(text)}", highlight=False)
    for name in calibration.assumed:
        console.print(f"assumed: {name}, since {_MEANING[name]}; state it with --{name.replace('_', '-')}")
    console.print()
