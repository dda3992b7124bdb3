"""The commands that a form becomes."""

import errno
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from meritorder.web.app import create_app
from meritorder.web.pages.data import STUDIES, commands
from meritorder.web.pages.jobs import Job, Jobs


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
    assert commands(_job(study="audit")) == [["audit", "trace.csv", "--html", "report.html", "--brief", "brief.html"]]


@pytest.mark.parametrize("study", STUDIES)
def test_values_cannot_become_options(study: str) -> None:
    for command in commands(_job(study=study, model="--json=/etc/x", columns="--strict")):
        assert [word for word in command if word.startswith("--json=") or word == "--strict"] == []


def _send(browser: TestClient) -> Any:  # noqa: ANN401 - the response of whichever client it uses
    token = re.findall(r'name="token" value="([^"]+)"', browser.get("/data").text)[0]
    return browser.post("/data", data={"token": token, "study": "audit"}, files={"file": ("bill <b>.csv", b"1,2")})


def test_files_are_listed_for_another_tab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Jobs, "start", lambda *_: None)
    with TestClient(create_app(())) as browser:
        address = _send(browser).url.path
        page = browser.get("/data").text
    assert f'<a href="{address}">billb.csv</a>' in page


def test_full_disk_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", copy)
    with TestClient(create_app(())) as browser:
        answer = _send(browser)
        page = browser.get("/data").text
    assert answer.status_code == 507
    assert "No space left on device" in answer.text
    assert "Your files" not in page
