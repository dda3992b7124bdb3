"""What a job is."""

from dataclasses import dataclass

from meritorder.inputs.prompts import PromptRules
from meritorder.jobs.asking import AskingOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """A job.

    Args:
        inputs: Files and folders of rows, paths or URLs.
        out: Folder of the answers.
        prompts: How prompts become requests.
        asking: How endpoints are asked.
        id_column: Column that identifies rows; see `RowRules`.
        workers: Workers that ask.
        rows_per_file: Most rows of a file of answers.
        budget_usd: What all runs together may spend; None without a budget.
        usd_per_hour: Price of the machines that serve the job; None if it is paid by the token, or not at all.
        cluster: Address of a Ray cluster; empty for this machine.
    """

    inputs: tuple[str, ...]
    out: str
    prompts: PromptRules
    asking: AskingOptions
    id_column: str = ""
    workers: int = 1
    rows_per_file: int = 500
    budget_usd: float | None = None
    usd_per_hour: float | None = None
    cluster: str = ""
