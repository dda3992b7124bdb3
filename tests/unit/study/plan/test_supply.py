"""What a plan may rent: the machines of each provider that are worth a pool."""

from dataclasses import replace

import numpy as np
from tests.samples.fleets import backfill, load, machine, offer

from meritorder import catalog as facts
from meritorder.domain import Access
from meritorder.study.plan.have import Have
from meritorder.study.plan.options import PlanOptions
from meritorder.study.plan.supply import Serving, sites_for


def test_a_smaller_machine_is_worth_a_pool_though_its_gpus_are_dearer_and_a_larger_one_only_if_they_are_cheaper() -> (
    None
):
    usd_per_gpu_hour = {1: 4.0, 2: 4.5, 4: 3.5, 8: 3.5}
    boxes = [
        replace(offer(1), provider="somebody", instance=f"box{gpus}", gpus=gpus, usd_per_hour=gpus * usd)
        for gpus, usd in usd_per_gpu_hour.items()
    ]
    known = facts.load()
    serving = Serving(
        machine=machine(load([0.0]), box=boxes[0]),
        safe=np.array([0.0, 0.7, 1.5]),
        backfill=backfill(8, prefill_tokens=256, kv_share=0.9),
        fullest=0.9,
    )
    sites = sites_for(
        replace(known, offers=tuple(reversed(boxes))),
        known.models["llama-3.1-8b"],
        [serving],
        options=PlanOptions(model="llama-3.1-8b", providers=("somebody",)),
        have=Have(),
        named="",
        accesses=(Access(),),
    )
    assert {site.pool.gpus: site.pool.replicas for site in sites} == {1: 1, 4: 4}
