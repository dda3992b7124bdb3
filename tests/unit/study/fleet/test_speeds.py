"""What is said about the engine that speeds hold for."""

import msgspec
import numpy as np
import pytest
from tests.samples.fleets import load, machine, profile

from meritorder.domain import Provenance
from meritorder.perf.operators import OperatorShares
from meritorder.perf.profile import Residuals
from meritorder.perf.shipped import shipped_errors
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.speeds import performance, speed_assumptions
from meritorder.units import format_share

ASKED = load(np.arange(10.0), 300, 50)


def served(hardware: str = "h100", measured: str = "0.12.0", used: str = "") -> CandidateMachine:
    replica = msgspec.structs.replace(
        profile(),
        hardware=hardware,
        engine_version=measured,
        user_version=used,
        residuals=Residuals(basis="9 servers", pace_ratios=[0.9, 1.1], servers=9),
    )
    return machine(ASKED, replica=replica)


def texts(*machines: CandidateMachine) -> list[str]:
    return [assumption.text for assumption in speed_assumptions(machines)]


def test_hardware_of_one_version_shares_a_line() -> None:
    assert texts(served("h100"), served("h200"), served("a100", "0.14.0"), served("h100")) == [
        "speeds on h100, h200 are those of vLLM 0.12.0; older releases tend to be slower",
        "speeds on a100 are those of vLLM 0.14.0; older releases tend to be slower",
    ]


@pytest.mark.parametrize(("used", "releases", "sign", "age"), [("0.10.2", 2, 1, "older"), ("0.13", 1, -1, "newer")])
def test_own_version_says_how_far_ranges_reach(used: str, releases: int, sign: int, age: str) -> None:
    factor = np.exp(sign * releases * 0.8 * shipped_errors().per_month)
    (text,) = texts(served(used=used))
    count = f"{releases} release{'s' if releases > 1 else ''} {age}"
    wider = f"reach {format_share(abs(factor - 1))} {'higher' if sign > 0 else 'lower'}"
    assert text == f"speeds on h100 are those of vLLM 0.12.0; for your vLLM {used}, {count}, ranges of cost {wider}"


def test_release_of_the_speeds_is_taken_as_it_is() -> None:
    assert texts(served(used="0.12.2")) == ["speeds on h100 are those of vLLM 0.12.0, taken for your vLLM 0.12.2"]


@pytest.mark.parametrize(("gpus", "calibrated", "lines"), [(1, False, 0), (4, False, 1), (4, True, 0)])
def test_split_of_experts_is_stated(gpus: int, calibrated: bool, lines: int) -> None:  # noqa: FBT001
    replica = msgspec.structs.replace(
        profile(),
        gpus=gpus,
        operators=OperatorShares(decode={"experts": [0.5] * 4}, step={"experts": [0.5] * 4}),
        provenance=Provenance.CALIBRATED if calibrated else Provenance.SILICON,
        engine_version="",
    )
    served_by = machine(ASKED, replica=replica)
    assert sum("split by tensor parallelism" in text for text in texts(served_by, served_by)) == lines


def test_ranks_are_said_to_be_simulated_alone() -> None:
    replica = msgspec.structs.replace(profile(), gpus=4, attention_ranks=4, engine_version="")
    (text,) = texts(machine(ASKED, replica=replica))
    assert "data-parallel attention) is simulated rank by rank" in text


def test_unknown_version_is_not_named() -> None:
    assert texts(served(measured="", used="0.10")) == []
    (line,) = performance([served(measured="")])
    assert "vLLM" not in line
    (line,) = performance([served()])
    assert "; as vLLM 0.12.0; table within" in line
