"""Spot machines in a comparison: at a stated rate, or as they were recorded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.samples.fleets import load, machine, offer

from meritorder import catalog as facts
from meritorder.errors import CatalogError, TraceError
from meritorder.sim.pools import Interruptions
from meritorder.study.compare.compare import CompareOptions, compare
from meritorder.study.fleet.search import Search
from meritorder.study.fleet.spot import spot_assumptions, spot_machines
from meritorder.traces import Trace

ARRIVED_S = np.sort(np.random.default_rng(2).uniform(0, 900, 2500))
PRICES = (
    "provider,instance,hardware,gpus,pricing_model,usd_per_hour\nme,box,h100,1,on_demand,2\nme,box,h100,1,spot,0.5\n"
)
DAY_S = 86_400.0


def prices(tmp_path: Path, text: str = PRICES) -> Path:
    path = tmp_path / "prices.csv"
    path.write_text(text)
    return path


def recorded(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fleet.csv"
    path.write_text(text)
    return path


def on_spot(tmp_path: Path, record: str, horizon_s: float) -> Interruptions:
    steady = machine(load(ARRIVED_S))
    options = CompareOptions(providers=("me",), spot_trace=recorded(tmp_path, record))
    (spot_machine,) = spot_machines(facts.load((prices(tmp_path),)), [steady], options, horizon_s)
    assert spot_machine.offer.usd_per_hour == 0.5
    assert spot_machine.interruptions is not None
    return spot_machine.interruptions


def test_record_repeats_from_last_change(tmp_path: Path) -> None:
    record = "0,add,a\n0,add,b\n10000,remove,a\n30000,add,c\n"
    taken = on_spot(tmp_path, record, 70.0)
    assert taken.ceiling_from_s == (0.0, 10.0, 30.0, 40.0, 60.0, 70.0)
    assert taken.ceiling == (2, 1, 2, 1, 2, 1)
    assert taken.lifetimes_s == ()


def test_steps_repeat_from_their_end(tmp_path: Path) -> None:
    taken = on_spot(tmp_path, '{"metadata": {"gap_seconds": 20}, "data": [0, 3, 0]}', 100.0)
    assert (taken.ceiling_from_s, taken.ceiling) == ((0.0, 20.0, 40.0, 80.0, 100.0), (0, 3, 0, 3, 0))


def test_long_record_is_not_repeated(tmp_path: Path) -> None:
    taken = on_spot(tmp_path, "0,add,a\n10000,add,b\n", 10.0)
    assert (taken.ceiling_from_s, taken.ceiling) == ((0.0, 10.0), (1, 2))


def test_record_with_many_changes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"fleet.csv: 3 changes in 2 s are too many .*--from"):
        on_spot(tmp_path, "0,add,a\n1000,add,b\n2000,remove,b\n", 30 * DAY_S)


def test_lifetimes_are_drawn_without_record(tmp_path: Path) -> None:
    steady = machine(load(ARRIVED_S))
    options = CompareOptions(providers=("me",), spot=True)
    (spot_machine,) = spot_machines(facts.load((prices(tmp_path),)), [steady], options, DAY_S)
    assert spot_machine.interruptions is not None
    assert spot_machine.interruptions.ceiling == ()
    assert np.mean(spot_machine.interruptions.lifetimes_s) == pytest.approx(-730 * 3600 / np.log(0.9), rel=0.1)
    assert "an assumed rate of 10% a month" in spot_assumptions([spot_machine], options)[0].text
    assert spot_assumptions([steady], options) == []


def test_late_spot_work_runs_on_demand() -> None:
    asked = load(ARRIVED_S, 300, 80, waits=np.arange(2500) % 2 == 0, patience_s=3600.0)
    steady = machine(asked)
    none_left = Interruptions(ceiling_from_s=(0.0,), ceiling=(0,))
    cheap = machine(asked, box=offer(usd_per_hour=0.1, instance="spot"))
    cheap = replace(cheap, interruptions=none_left)

    def search(fallback: bool) -> Search:  # noqa: FBT001
        return Search(
            load=asked,
            machines=[steady],
            batch_machines=[cheap, steady] if fallback else [cheap],
            patience_s=7200.0,
            progress=lambda _: None,
        )

    result = search(fallback=True).run()
    assert result.batch.feasible
    assert result.batch.pools[0][0] is steady
    assert result.mix.feasible
    assert not search(fallback=False).run().batch.feasible


def test_comparison_states_the_spot_record(small: Trace, tmp_path: Path) -> None:
    options = CompareOptions(
        model="llama-3.1-8b",
        tp=1,
        defer=("50%@1h",),
        providers=("me",),
        catalogs=(prices(tmp_path),),
        spot_trace=recorded(tmp_path, "0,add,a\n0,add,b\n600000,remove,b\n1200000,add,b\n"),
    )
    answer = compare(small, options)
    text = " | ".join(assumption.text for assumption in answer.assumptions)
    assert "spot machines are available as recorded in fleet.csv (at most 2)" in text
    batch = next(arrangement for arrangement in answer.arrangements if arrangement.name == "batch")
    assert "spot" in batch.venue
    assert batch.deadlines_missed == 0


def test_record_needs_a_spot_price(small: Trace, tmp_path: Path) -> None:
    only_steady = prices(tmp_path, "\n".join(PRICES.splitlines()[:2]) + "\n")
    record = recorded(tmp_path, "0,add,a\n")
    options = CompareOptions(
        model="llama-3.1-8b", tp=1, providers=("me",), catalogs=(only_steady,), spot_trace=record, defer=("50%@1h",)
    )
    with pytest.raises(CatalogError, match="no spot machine is known"):
        compare(small, options)
