"""The machines of each provider that a plan may rent."""

from dataclasses import replace

import numpy as np
from tests.samples.fleets import backfill, load, machine, offer

from meritorder import catalog as facts
from meritorder.domain import Access
from meritorder.planner.model.supply import Holdings, SavingsPlan
from meritorder.study.schedule.capacity import Serving
from meritorder.study.schedule.options import PlanOptions
from meritorder.study.schedule.supply import _held_offers, find_sites


def test_larger_machines_only_with_cheaper_gpus() -> None:
    usd_per_gpu_hour = {1: 4.0, 2: 4.5, 4: 3.5, 8: 3.5}
    boxes = [
        replace(offer(1), provider="some-cloud", instance=f"box{gpus}", gpus=gpus, usd_per_hour=gpus * usd)
        for gpus, usd in usd_per_gpu_hour.items()
    ]
    known = facts.load()
    serving = Serving(
        machine=machine(load([0.0]), box=boxes[0]),
        safe=np.array([0.0, 0.7, 1.5]),
        backfill=backfill(8, prefill_tokens=256, kv_share=0.9),
        max_utilization=0.9,
    )
    sites = find_sites(
        replace(known, offers=tuple(reversed(boxes))),
        known.models["llama-3.1-8b"],
        [serving],
        options=PlanOptions(model="llama-3.1-8b", providers=("some-cloud",)),
        holdings=Holdings(),
        suffix="",
        accesses=(Access(),),
    )
    assert {site.pool.gpus: site.pool.replicas for site in sites} == {1: 1, 4: 4}


def test_savings_plan_names_its_offers() -> None:
    covered = SavingsPlan(name="held", usd_per_hour={"aws us-east-1 p5.48xlarge": 28.5})
    offers = _held_offers(facts.load(), Holdings(savings_plans=(covered,)))
    assert {(offer.instance, offer.region) for offer in offers} == {("p5.48xlarge", "us-east-1")}
