"""The command line as a user has it: real processes, real files, and every mistake reported in one line."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import polars as pl
import pytest
from tests.samples.command import ROOT, meritorder, meritorder_in_process

from meritorder.records.comparison import SCHEMA, Comparison

DATA = ROOT.parent / "shared" / "data"
CONVERSATION = DATA / "traces/azure2023/AzureLLMInferenceTrace_conv.csv"
SMALL = "time,input_tokens,output_tokens\n1,100,20\n2,100,20\n30,100,20\n"
PRICES = "provider,instance,hardware,gpus,pricing_model,usd_per_hour\nme,box,h100,8,on_demand,"

needs_conversation = pytest.mark.skipif(not CONVERSATION.exists(), reason=f"{CONVERSATION} is not here")


def answered(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def external_loads(html: str) -> list[str]:
    """Return what a browser would fetch: sources, styles and imports that are not in the page itself."""
    markup = re.sub(
        r"<script\b[^>]*>.*?</script>", lambda found: found[0].split(">", 1)[0] + ">", html, flags=re.DOTALL
    )
    loads = re.findall(r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=[\"']?([^\"'\s>]+)", markup)
    loads += re.findall(r"<link\b[^>]*\bhref=[\"']?([^\"'\s>]+)", markup)
    loads += re.findall(r"(?:@import|url\()\s*[\"']?([^\"')\s]+)", markup)
    return [load for load in loads if not load.startswith(("data:", "#"))]


@needs_conversation
def test_compare_answers_as_documented(tmp_path: Path) -> None:
    promise = ("--model", "llama-3.1-70b", "--hardware", "h100", "--defer", "40%@4h")
    done = meritorder(tmp_path, "compare", str(CONVERSATION), *promise, "--json", "out.json", "--html", "out.html")
    said = answered(done)
    for word in ("Real time, always on", "Batch", "Mix", "TTFT", "Assumptions", "Prices used"):
        assert word in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.html", "out.json"]

    document = msgspec.json.decode((tmp_path / "out.json").read_bytes())
    asked = {"schema", "trace", "assumptions", "arrangements", "waterfall", "baseline", "saving_share"}
    assert asked <= set(document)
    assert document["schema"] == SCHEMA
    of_each = (
        *("name", "total_usd", "usd_per_request", "usd_per_mtok", "utilization", "busy", "replica_hours"),
        *("ttft_p50_s", "ttft_p99_s", "tpot_p99_s", "e2e_p99_s", "slo_attainment", "deadlines_missed"),
    )
    assert all(set(of_each) <= set(arrangement) for arrangement in document["arrangements"])

    answer = msgspec.json.decode((tmp_path / "out.json").read_bytes(), type=Comparison)
    named = {arrangement.name: arrangement for arrangement in answer.arrangements}
    assert {"realtime_fixed", "realtime_autoscaled", "batch", "mix"} <= set(named)
    lines = CONVERSATION.read_text().splitlines()[1:]
    assert answer.trace.requests == len(lines)
    assert answer.trace.input_tokens == sum(int(line.split(",")[1]) for line in lines)
    assert answer.trace.output_tokens == sum(int(line.split(",")[2]) for line in lines)
    baseline = named[answer.baseline]
    assert baseline.feasible
    assert (baseline.slo_attainment or 0) >= 0.99
    assert (baseline.ttft_p99_s or 9) <= 2
    assert named["mix"].total_usd <= baseline.total_usd
    assert named["mix"].deadlines_missed == named["batch"].deadlines_missed == 0
    assert (named["batch"].utilization or 0) > (baseline.utilization or 1)
    assert all(price.as_of and price.source for price in answer.prices)
    assert any("40%" in assumption.text for assumption in answer.assumptions)

    page = (tmp_path / "out.html").read_text()
    assert "<html" in page
    assert external_loads(page) == []


def test_external_loads_are_found() -> None:
    assert external_loads('<script src="https://cdn.example/x.js"></script>') == ["https://cdn.example/x.js"]
    assert external_loads('<link rel=stylesheet href="x.css"><img src="data:image/png;base64,a">') == ["x.css"]
    assert external_loads("<style>@import 'y.css'; a { background: url(#b) }</style>") == ["y.css"]


@pytest.mark.slow
def test_demo_needs_nothing(tmp_path: Path) -> None:
    said = answered(meritorder(tmp_path, "demo", "--no-gateway"))
    written = {path.name for path in (tmp_path / "demo").iterdir()}
    assert written == {"week.parquet", "workloads.toml", "compare.json", "compare.html"}
    answer = msgspec.json.decode((tmp_path / "demo/compare.json").read_bytes(), type=Comparison)
    assert answer.trace.requests == 6 * pl.read_parquet(tmp_path / "demo/week.parquet").height
    assert answer.sentence.split(".")[0][:40] in " ".join(said.split())


def test_inspect_proposes_without_applying(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text(SMALL)
    assert re.search(r"requests\s+3\b", answered(meritorder(tmp_path, "inspect", "trace.csv")))
    answered(meritorder(tmp_path, "inspect", "trace.csv", "--could-wait", "--propose", "w.toml", "--json", "i.json"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i.json", "trace.csv", "w.toml"]
    assert msgspec.json.decode((tmp_path / "i.json").read_bytes())


def test_prices_have_source_and_date(tmp_path: Path) -> None:
    answered(meritorder(tmp_path, "prices", "--hardware", "h100", "--model", "llama-3.1-70b", "--json", "p.json"))
    document = msgspec.json.decode((tmp_path / "p.json").read_bytes())
    offers = document["offers"]
    assert {offer["hardware"] for offer in offers} == {"h100"}
    assert all(offer["usd_per_hour"] > 0 and offer["as_of"] and offer["source"] for offer in offers)


def test_standard_input_is_a_trace(tmp_path: Path) -> None:
    done = meritorder(tmp_path, "compare", "-", "--model", "llama-3.1-8b", "--json", "out.json", stdin=SMALL)
    answered(done)
    assert msgspec.json.decode((tmp_path / "out.json").read_bytes())["trace"]["requests"] == 3


BAD = {
    "an empty file": ("empty.csv --model llama-3.1-8b", "empty"),
    "wrong columns": ("wrong.csv --model llama-3.1-8b", "no known format"),
    "a missing file": ("none.csv --model llama-3.1-8b", "no such file"),
    "a folder": (". --model llama-3.1-8b", "is a folder"),
    "an unknown model": ("trace.csv --model gpt-17", "unknown model 'gpt-17'"),
    "a model not named": ("trace.csv", "no model was given"),
    "several models": ("two.csv", "the trace has 2: llama-3.1-8b, qwen3-8b"),
    "unknown hardware": ("trace.csv --model llama-3.1-8b --hardware abacus", "unknown hardware 'abacus'"),
    "no hardware": ("trace.csv --model llama-3.1-8b --hardware ,", "no hardware was given"),
    "weights above the memory": ("trace.csv --model llama-3.1-405b --hardware l40s", "8 x l40s hold"),
    "too few GPUs": ("trace.csv --model deepseek-r1 --tp 1", "1 x h100 hold 80 GiB"),
    "GPUs never measured": ("trace.csv --model llama-3.1-8b --tp 3", "measured here are bf16 on 1 GPU"),
    "an unknown engine": ("trace.csv --model llama-3.1-8b --engine tgi", "rtx-pro-6000 with sglang, trtllm, vllm"),
    "a promise beyond the hardware": ("trace.csv --model llama-3.1-8b --slo ttft=1ms", "no replica can meet the SLO"),
    "a promise of nonsense": ("trace.csv --model llama-3.1-8b --slo soon", "--slo"),
    "a share of nonsense": ("trace.csv --model llama-3.1-8b --defer some@4h", "--defer"),
    "a deadline in the past": ("dated.csv --model llama-3.1-8b --defer 40%@2020-01-01", "is in the past"),
    "a price that is no number": ("trace.csv --model llama-3.1-8b --catalog nan.csv", "nan.csv, row 2"),
    "a negative price": ("trace.csv --model llama-3.1-8b --catalog negative.csv", "negative.csv, row 2"),
    "a price of zero": ("trace.csv --model llama-3.1-8b --catalog zero.csv", "zero.csv, row 2"),
    "a rate of nan": ("trace.csv --model llama-3.1-8b --scale nan", "--scale"),
    "a rate of zero": ("trace.csv --model llama-3.1-8b --scale 0", "--scale"),
    "a window backwards": ("trace.csv --model llama-3.1-8b --from 20s --to 10s", "--from/--to"),
    "a folder that is not there": ("trace.csv --model llama-3.1-8b --json none/out.json", "does not exist"),
    "one output that cannot be": ("trace.csv --model llama-3.1-8b --json out.json --html none/x", "does not exist"),
    "one file for two outputs": ("trace.csv --model llama-3.1-8b --json out --html ./out", "named twice"),
    "an unknown option": ("trace.csv --cheap", "No such option: --cheap"),
    "no trace": ("", "Missing argument 'TRACE...'"),
    "a seed below zero": ("trace.csv --model llama-3.1-8b --seed -1", "--seed"),
}


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    for name, content in {
        "trace.csv": SMALL,
        "empty.csv": "",
        "wrong.csv": "a,b\n1,2\n",
        "two.csv": "time,input_tokens,output_tokens,model\n1,9,9,llama-3.1-8b\n2,9,9,qwen3-8b\n",
        "dated.csv": "time,input_tokens,output_tokens\n2026-01-05T00:00:00,9,9\n2026-01-05T00:00:09,9,9\n",
        "nan.csv": f"{PRICES}nan\n",
        "negative.csv": f"{PRICES}-3\n",
        "zero.csv": f"{PRICES}0\n",
    }.items():
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize(
    ("name", "run"), [("an empty file", meritorder), *((name, meritorder_in_process) for name in BAD)]
)
def test_mistake_is_one_line(mistakes: Path, name: str, run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    arguments, said = BAD[name]
    outputs = () if "--json" in arguments else ("--json", "never.json", "--html", "never.html")
    before = sorted(mistakes.iterdir())
    done = run(mistakes, "compare", *arguments.split(), *outputs)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("meritorder: ")
    assert said in done.stderr
    assert sorted(mistakes.iterdir()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text(SMALL)
    (tmp_path / "closed").mkdir(mode=0o500)
    done = meritorder_in_process(
        tmp_path, "compare", "trace.csv", "--model", "llama-3.1-8b", "--json", "closed/out.json"
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Permission denied" in done.stderr


def test_demo_folder_conflict_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("mine")
    done = meritorder(tmp_path, "demo")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert (tmp_path / "demo").read_text() == "mine"


def test_help_and_version_succeed(tmp_path: Path) -> None:
    assert "compare" in answered(meritorder(tmp_path, "--help"))
    assert answered(meritorder(tmp_path)) == answered(meritorder(tmp_path, "--help"))
    assert answered(meritorder(tmp_path, "--version")).startswith("meritorder 0.")


def _service(folder: Path) -> Path:
    """Write two hours of a service: a request every second and a half, twice as many in the middle."""
    rows = []
    for second in range(7200):
        busy = 2400 <= second < 4800
        if second % 3 == 0 or (busy and second % 3 == 1):
            rows.append(f"{second},{300 + 37 * (second % 11)},{40 + 13 * (second % 17)}")
    path = folder / "service.csv"
    path.write_text("time,input_tokens,output_tokens\n" + "\n".join(rows) + "\n")
    return path


@pytest.mark.slow
def test_plan_is_simulated_on_two_traces(tmp_path: Path) -> None:
    trace = _service(tmp_path)
    made = meritorder(
        tmp_path,
        *("plan", str(trace), "--model", "llama-3.1-8b", "--hardware", "l40s,h100", "--provider", "runpod"),
        *("--scale", "20", "--defer", "40%@30m", "--time-limit", "5s", "--json", "plan.json", "--html", "plan.html"),
    )
    said = answered(made)
    for word in ("No policy", "Deferrable", "Simulated", "Assumptions", "Prices used"):
        assert word in said
    plan = msgspec.json.decode((tmp_path / "plan.json").read_bytes())
    keys = "schema total_usd bound_usd hard_bound_usd gap baseline_usd saving_usd saving_share saving_interval "
    keys += "by_pricing_model commitments schedule simulated solve_s"
    assert set(keys.split()) <= plan.keys()
    assert plan["simulated"]["deadlines_missed"] == 0
    assert plan["hard_bound_usd"] <= plan["bound_usd"] <= plan["total_usd"] <= plan["baseline_usd"] * 1.001
    assert not external_loads((tmp_path / "plan.html").read_text())

    again = meritorder(tmp_path, "simulate", "--plan", "plan.json", str(trace), "--json", "again.json")
    answered(again)
    assert msgspec.json.decode((tmp_path / "again.json").read_bytes())["simulated"] == plan["policy_outcome"]

    other = meritorder(tmp_path, "simulate", "--plan", "plan.json", str(trace), "--scale", "60", "--json", "o.json")
    answered(other)
    judged = msgspec.json.decode((tmp_path / "o.json").read_bytes())["simulated"]
    assert judged["total_usd"] > plan["policy_outcome"]["total_usd"]


def test_planning_mistake_is_one_line(tmp_path: Path) -> None:
    trace = str(_service(tmp_path))
    base = ("plan", trace, "--model", "llama-3.1-8b", "--hardware", "l40s")
    (tmp_path / "not.json").write_text("{}")
    for arguments, message in (
        ((*base, "--commit", "5y"), "--commit: unknown term '5y'"),
        ((*base, "--tokens", "free"), "--tokens: unknown tier 'free'"),
        ((*base, "--have", "missing.toml"), "missing.toml: cannot be read"),
        ((*base, "--slot", "7m"), "slot"),
        ((*base, "--backtest", "half"), "--backtest: 'half' is not a share"),
        (("simulate", "--plan", "not.json", trace), "not.json: not a plan"),
    ):
        done = meritorder_in_process(tmp_path, *arguments)
        assert done.returncode == 2, arguments
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
