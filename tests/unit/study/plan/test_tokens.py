"""Tokens for what can wait, weighed unasked: all of it, a part, none."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from meritorder.catalog import load as load_catalog
from meritorder.planner.solve.highs import Effort
from meritorder.records.planfile import Plan, read_plan, write_plan
from meritorder.study.fleet.workloads import assign_workloads
from meritorder.study.hindsight.tokens import token_purchases
from meritorder.study.plan.answer import plan
from meritorder.study.plan.replay import replay
from meritorder.study.schedule.options import PlanOptions
from meritorder.study.schedule.token_purchases import purchasable
from meritorder.traces import Trace
from meritorder.traces.read import read_trace

JOBS = '[[workload]]\nname = "jobs"\nlane = "deferrable"\ndeadline = "4h"\nmatch = { tenant = "jobs" }\n'


def trickle(*, chat: bool) -> Trace:
    """Sixty short requests in an hour: a machine costs cents to start, their tokens less than a tenth of one.

    Those of a chat end before the jobs arrive, so that no machine is on for them anyway.
    """
    rng = np.random.default_rng(3)
    requests = {
        "time": np.concatenate((np.sort(rng.uniform(0, 600, 30)), np.sort(rng.uniform(2400, 3600, 30)))),
        "input_tokens": rng.integers(20, 600, 60),
        "output_tokens": rng.integers(1, 100, 60),
        "tenant": np.repeat(["chat" if chat else "jobs", "jobs"], 30),
    }
    return read_trace([pl.DataFrame(requests)])


def planned(
    trace: Trace,
    path: Path,
    workloads: str = JOBS,
    tiers: tuple[str, ...] | None = None,
    config: Path | None = None,
) -> Plan:
    path.write_text(workloads)
    options = PlanOptions(
        model="qwen3-32b",
        hardware=("h100",),
        workloads=path,
        tiers=tiers,
        config=config,
        effort=Effort(time_limit_s=2.0),
    )
    return plan(trace, options)


@pytest.mark.parametrize("chat", [False, True])
def test_tokens_are_bought_where_they_cost_less(tmp_path: Path, *, chat: bool) -> None:
    trace = trickle(chat=chat)
    made = planned(trace, tmp_path / "w.toml")
    alone = planned(trace, tmp_path / "w.toml", tiers=())
    assert made.simulated is not None
    assert 0 < made.simulated.tokens_usd <= made.total_usd < alone.total_usd
    assert (made.simulated.tokens_usd == pytest.approx(made.total_usd)) != chat
    assert made.bound_usd <= made.total_usd * (1 + 1e-9)
    assert made.simulated.kept
    assert any("no provider promises" in assumption.text for assumption in made.assumptions)
    assert not any("no provider promises" in assumption.text for assumption in alone.assumptions)
    assert sum(credit.usd for credit in made.credited) == pytest.approx(made.saving_usd)
    assert made.policy_outcome is not None
    write_plan(made, tmp_path / "plan.json")
    again = replay(read_plan(tmp_path / "plan.json"), trace)
    assert again.total_usd == pytest.approx(made.policy_outcome.total_usd)
    assert again.kept == made.policy_outcome.kept


def test_denied_providers_sell_no_tokens(tmp_path: Path) -> None:
    own = planned(trickle(chat=False), tmp_path / "w.toml", f'{JOBS}allow = {{ provider = "runpod" }}\n')
    assert own.simulated is not None
    assert own.simulated.tokens_usd == 0
    assert own.total_usd > planned(trickle(chat=False), tmp_path / "w.toml").total_usd


def test_configured_venues_alone_sell_tokens(tmp_path: Path) -> None:
    """A venue at its own price; one at DeepInfra's, which is listed; machines and other models sell none."""
    config = tmp_path / "gateway.toml"
    config.write_text(
        """
        [[venue]]
        name = "house"
        url = "http://house/v1"
        models = { "qwen3-32b" = "house-model" }
        batch = true
        price = { input_usd_per_mtok = 0.02, output_usd_per_mtok = 0.04 }
        [[venue]]
        name = "listed"
        url = "https://api.deepinfra.com/v1/openai"
        models = { "qwen3-32b" = "Qwen/Qwen3-32B" }
        [[venue]]
        name = "engine"
        kind = "vllm"
        url = "http://engine/v1"
        models = ["qwen3-32b"]
        price = { input_usd_per_mtok = 0.001 }
        [[venue]]
        name = "other"
        url = "http://other/v1"
        models = ["llama-3.1-8b"]
        price = { input_usd_per_mtok = 0.001 }
        """
    )
    catalog = load_catalog()
    prices = purchasable(catalog.find_model("qwen3-32b"), catalog, config)
    assert [(price.provider, price.provider_model, price.tier, price.input_usd_per_mtok) for price in prices] == [
        ("house", "house-model", "batch", 0.01),
        ("house", "house-model", "standard", 0.02),
        ("deepinfra", "Qwen/Qwen3-32B", "standard", 0.08),
    ]
    trace = trickle(chat=False)
    made = planned(trace, tmp_path / "w.toml", config=config)
    tokens = [trace.requests[column].sum() for column in ("input_tokens", "output_tokens")]
    assert made.total_usd == pytest.approx((tokens[0] * 0.02 + tokens[1] * 0.04) / 1e6)
    assert [(api.venue, api.lanes) for api in made.apis] == [("house house-model, standard", ["deferrable"])]
    assert made.policy_outcome is not None
    assert replay(made, trace).total_usd == pytest.approx(made.policy_outcome.total_usd)
    config.write_text("")
    assert not planned(trace, tmp_path / "w.toml", config=config).apis


def test_unseen_day_buys_tokens(tmp_path: Path) -> None:
    """Two days of forty requests, a day of which costs less as tokens than a machine for an hour."""
    rng = np.random.default_rng(5)
    requests = pl.DataFrame(
        {
            "time": np.sort(np.concatenate([rng.uniform(0, 86_300, 40) + 86_400 * day for day in range(2)])),
            "input_tokens": 100,
            "output_tokens": 50,
            "tenant": "jobs",
        }
    )
    config = tmp_path / "gateway.toml"
    config.write_text(
        """
        [[venue]]
        name = "house"
        url = "http://house/v1"
        models = ["qwen3-32b"]
        price = { input_usd_per_mtok = 1.0, output_usd_per_mtok = 2.0 }
        """
    )
    forward = planned(read_trace([requests]), tmp_path / "w.toml", config=config).walk_forward
    assert forward is not None
    assert forward.total_usd == pytest.approx(40 * (100 * 1.0 + 50 * 2.0) / 1e6)
    assert forward.days[0].hindsight_usd == pytest.approx(forward.total_usd)
    assert forward.baseline_usd > 1.0


def test_a_day_is_patience_for_batches() -> None:
    """What may wait a day may wait for batches, whose answers come within one, at whatever time it arrives."""
    arrived_s = np.linspace(0.1, 50_000.7, 400)
    requests = {"time": arrived_s, "input_tokens": 100, "output_tokens": 50, "deadline": arrived_s + 86_400}
    options = PlanOptions(model="qwen3-32b")
    load = assign_workloads(read_trace([pl.DataFrame(requests)]), options).load(options)
    assert (load.deadline_s - load.arrived_s).min() < 86_400  # by the last digit
    catalog = load_catalog()
    prices = purchasable(catalog.find_model("qwen3-32b"), catalog, None)
    (purchase,) = token_purchases(load, prices, {"batch"})
    assert purchase.members.all()
