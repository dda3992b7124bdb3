"""Workers of jobs against a scripted engine: retries, refusals, deadlines, budgets and outages."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench._gateway import Engine

from meritorder.inputs.prompts import PromptRules

pytest.importorskip("ray", reason="needs the extra `ray`")

import pyarrow as pa
from pyarrow import parquet

from meritorder.jobs import asking
from meritorder.jobs.endpoints import Reply
from meritorder.jobs.output import OutputFolder, Stored, hash_ids
from meritorder.jobs.rows import RowRequest, RowRules
from meritorder.jobs.sources import LINE
from meritorder.jobs.spending import Budget

Ask = Callable[..., Any]

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Engine(tmp_path_factory.mktemp("engine")) as process:
        yield f"{process.url}/v1"


@pytest.fixture
def ask(engine: str, tmp_path: Path) -> Ask:
    async def run(
        *prompts: str, done: tuple[str, ...] = (), budget: Budget | None = None, **changes: object
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        async def lease(usd: float) -> float:
            return budget.lease(usd) if budget else 0.0

        answerer = asking.RowAnswerer(
            RowRules(id_column="", are_prompts=False, prompts=PromptRules(model="stub")),
            asking.AskingOptions(**{"urls": (engine,), **changes}),
            str(tmp_path / "out"),
            Stored(np.sort(hash_ids(done))),
            lease if budget else None,
        )
        lines = [json.dumps({"id": prompt, "prompt": prompt}) for prompt in prompts]
        report = await answerer(pa.table({LINE: pa.array(lines, pa.binary())}))
        await answerer.close()
        files = list((tmp_path / "out").glob("*.parquet"))
        answers = [row for file in files for row in parquet.read_table(file).to_pylist()]
        return {name: values[0] for name, values in report.to_pydict().items()}, {row["id"]: row for row in answers}

    return run


async def test_answers_have_text_and_tokens(ask: Ask) -> None:
    report, answers = await ask("hello", "world")
    assert report.pop("call_s") > 0.0
    assert report.pop("began_s") <= report.pop("ended_s")
    assert report == {"rows": 2, "failed": 0, "input_tokens": 14, "output_tokens": 12, "left": 0, "why": ""}
    assert answers["hello"]["text"] == "merit order is the cheapest first"
    assert json.loads(answers["hello"]["answer"])["usage"]["prompt_tokens"] == 7


async def test_restarted_worker_knows_its_answers(ask: Ask) -> None:
    # Ray restarts a worker with the arguments of its first start, which know nothing of what it has stored since.
    await ask("hello")
    report, answers = await ask("hello", "world")
    assert (report["rows"], set(answers)) == (1, {"hello", "world"})


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"usage": {"prompt_tokens": 10**30}}, "tokens are counted as"),
        ({"usage": {"completion_tokens": -5}}, "tokens are counted as"),
        ({"choices": [{"message": {"content": [{"type": "text"}]}}]}, None),
        ({"choices": [{"message": {"content": 5}}]}, None),
        ({"choices": 5}, "cannot be read"),
    ],
)
async def test_odd_answers_can_be_stored(answer: dict[str, object], error: str | None, tmp_path: Path) -> None:
    reply = Reply(200, json.dumps(answer).encode())
    row = asking._to_answer(RowRequest("a"), reply, 1)
    OutputFolder(str(tmp_path)).write([row])
    assert (row["text"], row["error"] is None) == (None, error is None)
    assert error is None or error in row["error"]


async def test_stored_rows_are_not_asked(ask: Ask) -> None:
    report, answers = await ask("hello", "world", done=("hello",))
    assert (report["rows"], set(answers)) == (1, {"world"})


@pytest.mark.parametrize(
    ("prompt", "attempts"), [("fault:500-once", 2), ("fault:json-once", 2), ("fault:reset-once", 2)]
)
async def test_passing_fault_is_retried(ask: Ask, prompt: str, attempts: int) -> None:
    _, answers = await ask(f"{prompt} {time.time_ns()}")
    (answer,) = answers.values()
    assert (answer["error"], answer["attempts"]) == (None, attempts)


@pytest.mark.parametrize(
    ("prompt", "status", "attempts"), [("fault:400", 400, 1), ("fault:500", 500, 2), ("fault:html", 200, 2)]
)
async def test_lasting_fault_is_an_error(ask: Ask, prompt: str, status: int, attempts: int) -> None:
    report, answers = await ask(prompt, "hello", max_attempts=2)
    assert (answers[prompt]["status"], answers[prompt]["attempts"], report["failed"]) == (status, attempts, 1)
    assert answers["hello"]["error"] is None


async def test_deadline_leaves_rows(ask: Ask) -> None:
    report, answers = await ask("hello", deadline_s=time.time() - 1)
    assert (report["left"], report["why"], answers) == (1, asking.DEADLINE, {})


async def test_outage_leaves_rows(ask: Ask) -> None:
    report, answers = await ask("hello", urls=("http://127.0.0.1:1/v1",), max_outage_s=0.0)
    assert (report["left"], answers) == (1, {})
    assert "no endpoint answers" in report["why"]


async def test_second_endpoint_takes_over(ask: Ask, engine: str) -> None:
    _, answers = await ask(*"abcd", urls=("http://127.0.0.1:1/v1", engine))
    assert [answers[name]["error"] for name in "abcd"] == [None] * 4


async def test_budget_leaves_rows(ask: Ask) -> None:
    # Each answer has 6 tokens at $1, and 10 are reserved: two fit into $20, and the $8 that they leave are too little.
    changes = {"usd_per_token": (0.0, 1.0), "max_tokens": 10}
    report, answers = await ask(*"abcdef", budget=Budget(20.0), **changes)
    assert (len(answers), report["left"], report["why"]) == (2, 4, asking.BUDGET)
