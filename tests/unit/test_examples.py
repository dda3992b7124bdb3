"""What is in `examples/` stays true."""

import runpy
from pathlib import Path

import pytest
from msgspec import structs
from tests.samples import nightly

from meritorder.catalog import load
from meritorder.domain import Lane, PricingModel, Slo
from meritorder.gateway import config_file
from meritorder.gateway.venues.plans import matching as planned
from meritorder.records import planfile
from meritorder.traces.generated.sample import generate
from meritorder.traces.workloads import assign, load_workloads

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_every_example_is_tested_here() -> None:
    there = ["catalog.csv", "catalog.toml", "gateway.toml", "library.py", "plan-gateway.toml", "workloads.toml"]
    assert sorted(path.name for path in EXAMPLES.iterdir()) == there


def test_example_workloads_match_the_whole_sample() -> None:
    workloads = load_workloads(EXAMPLES / "workloads.toml")
    assigned = assign(generate(seed=0), workloads, Slo(ttft_s=2.0, tpot_s=0.1))
    assert assigned.unmatched == 0
    assert [workload.name for workload in assigned.workloads] == [workload.name for workload in workloads]
    lanes = {workload.name: workload.lane for workload in workloads}
    assert lanes["chat"] is Lane.REALTIME
    assert lanes["nightly evaluation"] is Lane.DEFERRABLE


def test_slo_attainment_defaults_to_99_percent() -> None:
    by_name = {workload.name: workload for workload in load_workloads(EXAMPLES / "workloads.toml")}
    assert by_name["code completion"].slo == Slo(ttft_s=2.0, tpot_s=0.1, attainment=0.99)


def test_csv_catalog_adds_its_offers() -> None:
    catalog = load([EXAMPLES / "catalog.csv"])
    ours = catalog.cheapest("h100", 4, (PricingModel.ON_DEMAND,), providers=("our-contract",))
    assert ours.usd_per_hour == 10.0
    assert ours.source == "invoice of October"
    owned = catalog.select_offers(provider="on-prem")
    assert [(offer.pricing_model, offer.term, offer.usd_per_gpu_hour) for offer in owned] == [
        (PricingModel.RESERVED, "3y", pytest.approx(1.8))
    ]


def test_toml_catalog_adds_hardware_model_offer() -> None:
    catalog = load([EXAMPLES / "catalog.toml"])
    assert catalog.find_hardware("MI300X").memory_bytes == 192 * 1024**3
    assert catalog.find_model("acme/house-7b").kv_bytes_per_token == 2 * 32 * 8 * 128 * 2
    assert [offer.usd_per_hour for offer in catalog.select_offers(hardware="mi300x")] == [19.2]


def test_gateway_file_is_read_whole() -> None:
    settings = config_file.read(EXAMPLES / "gateway.toml")
    own, provider, batches = settings.venue
    assert (own.reads_load, provider.reads_load) == (True, False)
    assert provider.served() == {"llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct"}
    assert provider.price is not None
    assert str(provider.price.input_usd_per_mtok) == "0.05"
    assert (provider.batch, batches.batch) == (False, True)
    assert settings.rule[0].endpoint == "/v1/embeddings"


def test_plan_gateway_example_fits_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config_file.read(EXAMPLES / "plan-gateway.toml")
    live, night, tier = (venue.pools()[0] for venue in settings.venue)
    declared = load_workloads(EXAMPLES / "workloads.toml")
    rules = [
        planfile.DeclaredWorkload(
            name=workload.name, lane=workload.lane.value, deadline=workload.deadline, match=list(workload.match)
        )
        for workload in declared
    ]
    names = [workload.name for workload in declared if workload.lane is Lane.DEFERRABLE] + ["deferred 4h"]
    plan = nightly.plan(
        model="llama-3.1-8b",
        rules=rules,
        waits=[planfile.WorkloadPlan(name=name, lane="deferrable", model="llama-3.1-8b") for name in names],
        routes=[
            nightly.route("realtime", live, [0.9] * 5),
            nightly.route("realtime", tier, [0.1] * 5, kind="tier"),
            *(nightly.route(name, night, [0, 0, 900.0, 0, 0]) for name in names),
        ],
    )
    pools = [structs.replace(one, name=name) for one, name in zip(plan.pools, (live, night), strict=True)]
    schedule = [structs.replace(one, pool=name) for one, name in zip(plan.schedule, (live, night), strict=True)]
    planfile.write_plan(structs.replace(plan, pools=pools, schedule=schedule), tmp_path / "plan.json")
    monkeypatch.chdir(tmp_path)
    found = planned.read_plan(settings)
    assert [pool.venues for pool in found.pools] == [("live",), ("night",)]
    assert [way.venues for way in found.realtime["llama-3.1-8b"][""]] == [("live",), ("provider",)]
    assert [workload.declared for workload in found.deferrable["llama-3.1-8b"]] == names
    assert [rule.name for rule in found.rules] == [workload.name for workload in declared]


def test_library_example_writes_reports(tmp_path: Path) -> None:
    runpy.run_path(str(EXAMPLES / "library.py"))["main"](tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compare.html", "plan.json", "simulation.html"]
    assert planfile.read_plan(tmp_path / "plan.json").simulated is not None
