"""The commands of an estimate give the options that it was made with."""

import shlex
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meritorder.cli import app
from meritorder.domain import Slo
from meritorder.sim.pools import Startup
from meritorder.study.compare import compare as compare_study
from meritorder.study.estimate.commands import trace_commands
from meritorder.study.fleet.options import CompareOptions
from meritorder.study.plan import answer as plan_study
from meritorder.traces import Trace
from meritorder.units import ExchangeRate

MODEL = "llama-3.1-8b"
OPTIONS = CompareOptions(
    model=MODEL,
    hardware=("l40s", "a100-pcie"),
    providers=("runpod", "aws"),
    regions=("us-east-1",),
    engine="sglang",
    precision="fp8",
    tp=2,
    max_num_seqs=64,
    max_num_batched_tokens=4096,
    memory_utilization=0.85,
    kv_cache_dtype="fp8",
    slo=Slo(ttft_s=1.5, tpot_s=0.045, attainment=0.995),
    defer=("30%@4h", "10%@06:00"),
    startup=Startup(machine_s=30, image_s=0, weights_s=100.5, warmup_s=60),
    profile=Path("my profile.toml"),
    roofline=True,
    spot=True,
    catalogs=(ExchangeRate(currency="EUR", usd=Decimal("1.08")), Path("one.csv"), Path("two.toml")),
    seed=7,
)


class AskedError(Exception):
    """What a command asked for."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], CompareOptions]:
    """Run a command as far as its study; return the options that it asks for."""

    def record(_trace: Trace, options: CompareOptions, *_args: object) -> None:
        raise AskedError(options)

    monkeypatch.setattr(compare_study, "compare", record)
    monkeypatch.setattr(plan_study, "plan", record)

    def run(command: str) -> CompareOptions:
        result = CliRunner().invoke(app, shlex.split(command)[1:])
        assert isinstance(result.exception, AskedError), result.output
        options: CompareOptions = result.exception.args[0]
        return options

    return run


@pytest.fixture
def day(tmp_path: Path) -> str:
    path = tmp_path / "a day.csv"
    path.write_text("arrived_s,input_tokens,output_tokens\n0,10,10\n1,10,10\n")
    return str(path)


@pytest.mark.parametrize("options", [OPTIONS, CompareOptions(model=MODEL, startup=Startup.with_total(90.0))])
def test_compare_gets_every_option(asked: Callable[[str], CompareOptions], day: str, options: CompareOptions) -> None:
    assert asked(trace_commands(day, MODEL, options)[0]) == options


SHARED = (
    *("model", "hardware", "providers", "regions", "engine", "precision", "tp", "slo", "defer", "startup", "profile"),
    *("roofline", "spot", "catalogs", "seed"),
)


def test_plan_gets_every_option(asked: Callable[[str], CompareOptions], day: str) -> None:
    planned = asked(trace_commands(day, MODEL, OPTIONS)[1])
    assert {name: getattr(planned, name) for name in SHARED} == {name: getattr(OPTIONS, name) for name in SHARED}
