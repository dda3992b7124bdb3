"""Runs of a job: a budget is that of all runs together."""

import time
from pathlib import Path

import msgspec
import pytest

from meritorder.inputs.prompts import PromptRules

pytest.importorskip("ray", reason="needs the extra `ray`")

from meritorder.jobs.asking import AskingOptions
from meritorder.jobs.job import Run
from meritorder.jobs.options import JobOptions
from meritorder.jobs.output import OutputFolder
from meritorder.jobs.runs import Runs

PRICE = (1.0, 2.0)  # of an input and an output token


def new_run(out: Path, **changes: object) -> tuple[Run, Runs]:
    asking = AskingOptions(urls=("http://127.0.0.1:1/v1",), usd_per_token=PRICE, deadline_s=time.time() + 86_400)
    options = {"inputs": ("rows.jsonl",), "out": str(out), "prompts": PromptRules(model="m"), "asking": asking}
    runs = Runs(str(out))
    return Run(JobOptions(**options | changes), OutputFolder(str(out)), runs), runs


def answer(row_id: str) -> dict[str, object]:
    return {"id": row_id, "input_tokens": 10, "output_tokens": 5, "attempts": 1}


def test_machines_of_earlier_runs_count(tmp_path: Path) -> None:
    for cost_usd in (1.0, 2.0):
        run, runs = new_run(tmp_path)
        runs.write(msgspec.structs.replace(run.record(), cost_usd=cost_usd))
    run, _ = new_run(tmp_path, budget_usd=5.0, usd_per_hour=12.0)
    # Of $5 there are $2 left: ten minutes at $12 an hour.
    assert run._options.asking.deadline_s == pytest.approx(run.started_s + 600)
    assert run.record().job_cost_usd == pytest.approx(3.0, abs=0.1)


def test_spent_budget_leaves_no_time(tmp_path: Path) -> None:
    run, runs = new_run(tmp_path)
    runs.write(msgspec.structs.replace(run.record(), cost_usd=9.0))
    run, _ = new_run(tmp_path, budget_usd=5.0, usd_per_hour=12.0)
    assert (run._options.asking.deadline_s or 0.0) < run.started_s


def test_removed_answers_were_paid(tmp_path: Path) -> None:
    output = OutputFolder(str(tmp_path))
    output.write([answer("a"), answer("b")])
    output.write([answer("b"), answer("c")])
    for _ in range(3):  # what the first run removes is on its record, and counted once
        run, _ = new_run(tmp_path)
        assert run.end().job_cost_usd == pytest.approx(4 * (10 * 1.0 + 5 * 2.0))


def test_receipt_sums_all_runs(tmp_path: Path) -> None:
    OutputFolder(str(tmp_path)).write([answer("a"), answer("b") | {"error": "the row is not JSON", "input_tokens": 0}])
    run, _ = new_run(tmp_path)
    receipt = run.receipt(run.end())
    assert (receipt.total, receipt.completed, receipt.failed, receipt.attempts) == (2, 1, 1, 2)
    assert (receipt.status, receipt.deadline_kept) == ("completed", True)
    assert float(receipt.paid_usd) == pytest.approx(10 * 1.0 + 10 * 2.0)
    assert receipt.places[0].price_basis == "tokens"
