"""The commands that a form becomes."""

from pathlib import Path

import pytest

from meritorder.web.pages.data import STUDIES, commands
from meritorder.web.pages.jobs import Job


def _job(**fields: str) -> Job:
    return Job(id="j", folder=Path("/work"), file=Path("/work/trace.csv"), fields=fields)


def test_trace_is_shown_before_it_is_compared() -> None:
    fields = {"study": "compare", "model": "llama-3.1-8b", "hardware": "h100,h200", "defer": "", "columns": "input=a"}
    assert commands(_job(**fields)) == [
        ["inspect", "trace.csv", "--columns=input=a"],
        [
            "compare",
            "trace.csv",
            "--model=llama-3.1-8b",
            "--hardware=h100,h200",
            "--columns=input=a",
            "--html",
            "report.html",
        ],
    ]


def test_bill_is_audited_at_once() -> None:
    assert commands(_job(study="audit")) == [["audit", "trace.csv", "--html", "report.html"]]


@pytest.mark.parametrize("study", STUDIES)
def test_values_cannot_become_options(study: str) -> None:
    for command in commands(_job(study=study, model="--json=/etc/x", columns="--strict")):
        assert [word for word in command if word.startswith("--json=") or word == "--strict"] == []
