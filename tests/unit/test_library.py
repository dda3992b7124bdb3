"""Answers of the Python API: they forward their figures, write themselves, and show themselves in a notebook."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from tests.samples import charges
from tests.samples import comparison as sample_comparison
from tests.samples import plan as sample_plan
from tests.samples.fleets import profile
from tests.samples.page import assert_loads_nothing

import meritorder
from meritorder import documents
from meritorder.answers import (
    Answer,
    CalibrationAnswer,
    ComparisonAnswer,
    PlanAnswer,
    SimulationAnswer,
    SweepAnswer,
)
from meritorder.errors import ConfigError
from meritorder.records import planfile


def comparison() -> ComparisonAnswer:
    return ComparisonAnswer(sample_comparison.week())


def planned() -> PlanAnswer:
    return PlanAnswer(sample_plan.week())


def simulated() -> SimulationAnswer:
    plan = sample_plan.week()
    assert plan.simulated is not None
    return SimulationAnswer(plan.simulated, plan, "week.json")


def swept() -> SweepAnswer:
    figures = {"usd_per_request": 0.1, "utilization": 0.5, "slo_attainment": 1.0, "ttft_p99_s": 1.0, "e2e_p50_s": 2.0}
    row = {"share": "20%", "arrangement": "mix", "keeps_promise": True, "total_usd": 10.0, **figures, "error": ""}
    return SweepAnswer(pl.DataFrame([row]), ["share"])


@pytest.mark.parametrize("make", [comparison, planned, simulated, swept])
def test_every_answer_has_every_face(make: Callable[[], Answer[object]], tmp_path: Path) -> None:
    answer = make()
    assert json.loads(answer.to_json())
    page = answer.to_html()
    assert "<html" in page
    assert len(str(answer)) > 100
    assert answer._repr_html_().lower().startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    for path in (tmp_path / "answer.json", tmp_path / "answer.html"):
        assert answer.write(path) == path
    assert (tmp_path / "answer.json").read_text() == answer.to_json()


def test_pages_load_nothing() -> None:
    for answer in (comparison(), planned(), simulated()):
        assert_loads_nothing(answer.to_html())


def test_attributes_are_those_of_the_record() -> None:
    answer = planned()
    assert answer.total_usd == answer.record.total_usd
    assert {"total_usd", "to_html", "write"} <= set(dir(answer))
    assert copy.copy(answer).total_usd == answer.total_usd
    with pytest.raises(AttributeError, match="no attribute 'total_eur'"):
        answer.total_eur  # noqa: B018


def test_json_is_that_of_the_commands(tmp_path: Path) -> None:
    plan = sample_plan.week()
    written = PlanAnswer(plan).write(tmp_path / "plan.json")
    assert written.read_bytes() == documents.encode(plan)
    assert planfile.read_plan(written) == plan
    assert json.loads(simulated().to_json())["plan"] == "week.json"


def test_bad_target_leaves_no_file(tmp_path: Path) -> None:
    answer = comparison()
    with pytest.raises(ConfigError, match=r"unknown suffix '.txt'; use .json or .html"):
        answer.write(tmp_path / "answer.txt")
    with pytest.raises(ConfigError, match="does not exist"):
        answer.write(tmp_path / "missing" / "answer.json")
    assert list(tmp_path.iterdir()) == []


def test_some_answers_write_more(tmp_path: Path) -> None:
    answer = swept()
    assert pl.read_parquet(answer.write(tmp_path / "rows.parquet")).equals(answer.record)
    fitted = CalibrationAnswer((profile(),))
    assert fitted.write(tmp_path / "profile.toml").read_text() == fitted.to_toml()
    assert json.loads(fitted.to_json())[0]["hardware"] == "h100"


def test_audit_writes_its_findings(tmp_path: Path) -> None:
    bill = charges.write(tmp_path / "bill.csv", charges.machine(range(24 * 7)))
    answer = meritorder.audit(meritorder.read_bill(bill))
    assert answer.inference_usd == answer.record.inference_usd
    assert json.loads(answer.to_json())["schema"] == "meritorder.audit/1"
    assert_loads_nothing(answer.to_html())
    assert answer.write(tmp_path / "findings.csv").read_text().startswith("kind,")


def frame() -> pl.DataFrame:
    return pl.DataFrame({"arrived_s": [float(n) for n in range(60)], "input_tokens": [100] * 60, "output_tokens": 10})


def test_sweep_takes_values_as_given() -> None:
    options = meritorder.CompareOptions(model="llama-3.1-8b", hardware=("h100",))
    answer = meritorder.sweep(meritorder.read_trace(frame()), options, vary={"replicas": [2]}, processes=1)
    assert answer.axes == ("replicas",)
    assert set(answer.record["replicas"]) == {"2"}
    with pytest.raises(ConfigError, match="replica"):
        meritorder.sweep(meritorder.read_trace(frame()), options, vary={"replica": [2]})


def test_one_varied_value_may_be_text() -> None:
    options = meritorder.CompareOptions(model="llama-3.1-8b", hardware="h100")  # type: ignore[arg-type]
    answer = meritorder.sweep(meritorder.read_trace(frame()), options, vary={"hardware": "h100,l40s"}, processes=1)
    assert set(answer.record["hardware"]) == {"h100", "l40s"}


def test_comparison_of_a_data_frame() -> None:
    options = meritorder.CompareOptions(model="llama-3.1-8b", hardware=("h100",), defer=("50%@4h",))
    steps: list[str] = []
    answer = meritorder.compare(meritorder.read_trace(frame()), options, progress=steps.append)
    assert answer.trace.requests == 60
    assert steps
