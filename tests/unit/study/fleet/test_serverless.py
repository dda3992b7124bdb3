"""Serverless workers: paid from start to end, cold when a request starts them, warm for a time after the last."""

from dataclasses import replace

import numpy as np
import pytest
from tests.samples.fleets import load, machine

from meritorder import catalog as facts
from meritorder.domain import PricingModel, Slo
from meritorder.errors import CatalogError
from meritorder.sim.pools import Startup
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.options import CompareOptions
from meritorder.study.fleet.serverless import (
    keep_warm_s,
    search_serverless,
    serverless_fleet,
    serverless_machines,
)

COLD_S, WARM_S = 30.0, 60.0
SPARSE = load(np.array([0.0, 1000.0, 2000.0]), 300, 80, slo=Slo(ttft_s=40.0, tpot_s=0.1))


def worker(of: TraceLoad = SPARSE, *, cold_s: float = COLD_S, **offer: object) -> CandidateMachine:
    known = machine(of)
    box = replace(known.offer, pricing_model=PricingModel.SERVERLESS, minimum_billing_s=1.0, **offer)
    return replace(known, offer=box, startup_s=cold_s, startup_paid_s=cold_s)


def test_each_burst_pays_start_work_and_warmth() -> None:
    """Three requests far apart: three starts of 30 s, three answers, three times 60 s warm, at $2 an hour."""
    trial = serverless_fleet(worker(), SPARSE, 8, 0, warm_s=WARM_S)
    answer_s = float(trial.e2e_s[0]) - COLD_S
    assert trial.paid_s == pytest.approx(3 * (COLD_S + answer_s + WARM_S), abs=6.0)
    assert trial.usd == pytest.approx(trial.paid_s * 2.0 / 3600)


def test_first_token_waits_for_cold_start() -> None:
    trial = serverless_fleet(worker(), SPARSE, 8, 0, warm_s=WARM_S)
    assert np.all((trial.ttft_s >= COLD_S) & (trial.ttft_s <= COLD_S + 2))
    assert trial.feasible
    slower = serverless_fleet(worker(cold_s=60.0), SPARSE, 8, 0, warm_s=WARM_S)
    assert (slower.slo_attainment, slower.feasible) == (0.0, False)


def test_warm_worker_answers_at_once() -> None:
    close = load(np.array([0.0, 50.0, 100.0, 150.0]), 300, 80)
    trial = serverless_fleet(worker(close), close, 8, 0, warm_s=WARM_S)
    assert trial.ttft_s[0] >= COLD_S
    assert np.all(trial.ttft_s[1:] < 1.0)


def test_worker_always_on_meets_tight_slo() -> None:
    """Cold starts of 30 s break a limit of 2 s, so one worker must always run: all of the time is paid."""
    tight = load(SPARSE.arrived_s, 300, 80, slo=Slo(ttft_s=2.0, tpot_s=0.1))
    trial = search_serverless(tight, [worker(tight)], CompareOptions(), lambda _: None)
    assert trial.feasible
    assert trial.paid_s >= tight.span_s
    assert "1 worker always on" in trial.label


def test_cheapest_by_the_hour_need_not_win() -> None:
    """$2.00 an hour and warm for 15 min, or $2.50 and warm for 5 s: the second costs less for three requests."""
    slow = worker(keep_warm_s=900.0)
    quick = worker(keep_warm_s=5.0, usd_per_hour=2.5)
    trial = search_serverless(SPARSE, [slow, quick], CompareOptions(), lambda _: None)
    assert trial.machine is quick


def test_stated_times_override_defaults() -> None:
    options = CompareOptions(startup=Startup.with_total(300.0))
    assert options.cold_start_s == pytest.approx(240.0)
    assert replace(options, stated_cold_start_s=9.0).cold_start_s == 9.0
    assert keep_warm_s(worker(keep_warm_s=5.0), options) == 5.0
    assert keep_warm_s(worker(), options) == 60.0
    assert keep_warm_s(worker(keep_warm_s=5.0), replace(options, keep_warm_s=7.0)) == 7.0


def test_workers_of_all_providers_are_candidates() -> None:
    known = machine(SPARSE)
    workers = serverless_machines(facts.load(), [known], CompareOptions())
    assert {worker.offer.provider for worker in workers} == {"baseten", "modal", "runpod"}
    assert {worker.offer.gpus for worker in workers} == {1}
    with pytest.raises(CatalogError, match="no serverless price"):
        serverless_machines(facts.load(), [known], CompareOptions(providers=("aws",)))
