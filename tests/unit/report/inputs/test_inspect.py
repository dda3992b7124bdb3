"""What `inspect` shows."""

import io
import json
from pathlib import Path

from rich.console import Console

from meritorder.report.inputs import inspect
from meritorder.traces import could_wait
from meritorder.traces.generated import sample
from meritorder.traces.read import read_trace


def printed(call: object, *arguments: object) -> str:
    console = Console(file=io.StringIO(), width=140)
    call(*arguments, console)
    return console.file.getvalue()


def test_inspect_states_facts_of_sample() -> None:
    week = sample.generate()
    text = printed(inspect.render, week)
    for fact in (
        "92,700 in 7 d, from 2026-01-05 00:00 UTC",
        "code-assist",
        "llama-3.1-70b",
        "p99",
        "█",
        "the sample is generated",
    ):
        assert fact in text
    found = could_wait.find_candidates(week)
    assert "tenant=evals" in printed(inspect.render_candidates, found)
    document = json.loads(json.dumps(inspect.to_dict(week, found)))
    assert document["schema"] == inspect.SCHEMA
    assert document["statistics"]["requests"] == 92_700
    assert document["could_wait"][0]["matching"] == {"tenant": "doc-index"}


def test_bad_rows_and_names_with_brackets(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("time,input_tokens,output_tokens,tenant\n1,1,1,[red]x\n2,-1,1,y\n3,1,0,z\n")
    read = read_trace([path])
    text = printed(inspect.render, read)
    assert "1 bad rows of 3" in text
    assert "t.csv:3: negative input tokens" in text.replace("\n", "")
    assert "set aside: 1 row, 1 input and 0 output tokens (33.3% of the rows): failed" in text
    assert "50.0% of the traffic is not priced: 1 of 2 calls (1 invalid)." in text
    assert "[red]x" in text
    assert "No sign" in printed(inspect.render_candidates, could_wait.find_candidates(read))
    assert inspect.to_dict(read)["read"]["bad"] == {"negative input tokens": 1}


def test_one_request_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("time,input_tokens,output_tokens\n1,1,1\n")
    read = read_trace([path])
    assert "1 in 0 ms" in printed(inspect.render, read)
    json.dumps(inspect.to_dict(read))
