"""run: rows of any number through endpoints, on Ray."""

import math
import os
import sys
import time
from typing import Annotated, Final

import typer

from meritorder.cli.options import ApiKeyVariable, JsonFile, PromptColumn
from meritorder.cli.parsing import parse_duration, progress
from meritorder.deadlines import parse_deadline
from meritorder.errors import ConfigError
from meritorder.units import TOKENS_PER_MTOK

_URL: Final = "http://127.0.0.1:8000/v1"
_INTERRUPTED: Final = 130


def run(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Files or folders: JSON lines, text, CSV, Parquet, Arrow; paths, s3:// or gs://."
        ),
    ],
    out: Annotated[str, typer.Option("--out", metavar="FOLDER", help="Folder of the answers, a path or URL.")],
    url: Annotated[
        list[str] | None,
        typer.Option(
            "--url", metavar="URL", help=f"Endpoint with /v1, a gateway or an engine (repeatable).  [default: {_URL}]"
        ),
    ] = None,
    model: Annotated[str, typer.Option("--model", help="Model of rows that name none.")] = "",
    prompt: PromptColumn = "prompt",
    id_: Annotated[
        str,
        typer.Option(
            "--id", metavar="COLUMN", help="Column that identifies rows; by default custom_id, id or the content."
        ),
    ] = "",
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Most tokens of an answer, for rows that set no limit.")
    ] = None,
    deadline: Annotated[
        str, typer.Option("--deadline", metavar="TIME", help="Deadline of the job: 6h, 06:00 UTC or ISO 8601.")
    ] = "",
    budget: Annotated[
        float | None, typer.Option("--budget", metavar="USD", help="Budget of all runs of the job; it needs a price.")
    ] = None,
    usd_per_mtok: Annotated[
        str, typer.Option("--usd-per-mtok", metavar="IN,OUT", help="Price of a million input and output tokens.")
    ] = "",
    usd_per_hour: Annotated[
        float | None, typer.Option("--usd-per-hour", metavar="USD", help="Price of all machines behind the endpoints.")
    ] = None,
    calls: Annotated[int, typer.Option("--calls", min=1, help="Calls that each worker has in flight.")] = 64,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Workers on Ray that send calls.")] = 1,
    rows_per_file: Annotated[
        int,
        typer.Option(
            "--rows-per-file", min=1, help="Rows per file of answers; a worker that crashes loses at most these."
        ),
    ] = 500,
    max_outage: Annotated[
        str, typer.Option("--max-outage", metavar="TIME", help="Stop after this time without a successful call.")
    ] = "10m",
    ray: Annotated[
        str, typer.Option("--ray", metavar="ADDRESS", help="Ray cluster; by default one on this machine.")
    ] = "",
    quote: Annotated[
        bool, typer.Option("--quote", help="Run a few rows only, and estimate cost and end of the rest.")
    ] = False,
    api_key_env: ApiKeyVariable = "OPENAI_API_KEY",
    json: JsonFile = None,
) -> None:
    """Answer each row of files by an OpenAI-compatible endpoint; answers are Parquet files in a folder.

    What is stored there is not asked again: after a crash, an interruption or an outage, run the same command again.
    Rows are requests as the Batch API takes them, or prompts. A gateway defers the calls until --deadline.
    The exit code is 1 if rows have an error or are left; with --quote, if the deadline or the budget would not hold.
    For example:

    meritorder run prompts.parquet --out answers --model llama-3.1-8b --max-tokens 200 --deadline 6h
    """
    from meritorder import documents
    from meritorder.inputs.prompts import PromptRules
    from meritorder.jobs.asking import AskingOptions
    from meritorder.jobs.job import run_job
    from meritorder.jobs.options import JobOptions
    from meritorder.jobs.quote import quote_job
    from meritorder.report import files
    from meritorder.report.ledger.job import is_well, sentences

    files.check_target(json)
    prices = _prices(usd_per_mtok)
    _check_budget(budget, usd_per_hour, prices, max_tokens)
    options = JobOptions(
        inputs=tuple(inputs),
        out=out,
        prompts=PromptRules(model=model, prompt=prompt, max_tokens=max_tokens),
        asking=AskingOptions(
            urls=tuple(address.rstrip("/") for address in url or [_URL]),
            api_key=os.environ.get(api_key_env, ""),
            calls=calls,
            max_outage_s=parse_duration(max_outage, "--max-outage"),
            deadline_s=float(parse_deadline(deadline).due_s(time.time())) if deadline else None,
            usd_per_token=prices,
            max_tokens=max_tokens or 0,
        ),
        id_column=id_,
        workers=workers,
        rows_per_file=rows_per_file,
        budget_usd=budget,
        usd_per_hour=usd_per_hour,
        cluster=ray,
    )
    try:
        with progress() as status:
            done = quote_job(options, status.update) if quote else run_job(options, status.update)
    except KeyboardInterrupt:
        typer.echo(f"stopped; the answers so far are in {out}; run the same command again to go on", err=True)
        sys.exit(_INTERRUPTED)
    if json:
        files.write_bytes(json, documents.encode(done))
    for sentence in sentences(done):
        typer.echo(sentence)
    if not is_well(done):
        raise typer.Exit(1)


def _prices(text: str) -> tuple[float, float]:
    """Parse the prices of a million input and output tokens; return those of one token."""
    try:
        usd_per_mtok = [float(price) for price in text.split(",")] if text else [0.0, 0.0]
    except ValueError:
        usd_per_mtok = []
    if len(usd_per_mtok) != len(("input", "output")) or not all(0 <= price < math.inf for price in usd_per_mtok):
        fix = "write the prices of a million input and output tokens: 0.40,1.60"
        raise ConfigError(f"{text!r} is not two prices", where="--usd-per-mtok", fix=fix)
    return usd_per_mtok[0] / TOKENS_PER_MTOK, usd_per_mtok[1] / TOKENS_PER_MTOK


def _check_budget(
    budget: float | None, usd_per_hour: float | None, prices: tuple[float, float], max_tokens: int | None
) -> None:
    """Check that a budget can be kept.

    Raises:
        ConfigError: It is not an amount, or what it needs is not stated.
    """
    if usd_per_hour is not None and not 0 < usd_per_hour < math.inf:
        raise ConfigError(f"{usd_per_hour} is not a price", where="--usd-per-hour", fix="write dollars an hour")
    if usd_per_hour is not None and any(prices):
        raise ConfigError("give one price, not two", where="run", fix="give --usd-per-hour or --usd-per-mtok")
    if budget is None:
        return
    if not 0 < budget < math.inf:
        raise ConfigError(f"{budget} is not an amount", where="--budget", fix="write dollars above 0")
    if usd_per_hour is None and not any(prices):
        raise ConfigError("needs a price", where="--budget", fix="add --usd-per-mtok 0.40,1.60 or --usd-per-hour 12")
    if any(prices) and max_tokens is None:
        fix = "add --max-tokens, so that no answer can cost more than is left"
        raise ConfigError("needs a limit on answers", where="--budget", fix=fix)
