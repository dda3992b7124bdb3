"""Candidate machines: the SLO of an idle replica, and how much backfill leaves it intact."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from tests.samples.fleets import LIMITS, load, machine, profile

from meritorder import catalog as facts
from meritorder.domain import Attention, Slo
from meritorder.errors import InfeasibleError
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.study.fleet.machines import candidate_profiles, check_slo, max_backfill
from meritorder.study.fleet.options import CompareOptions


@pytest.mark.parametrize("slo", [Slo(ttft_s=0.005, tpot_s=0.1), Slo(ttft_s=2.0, tpot_s=0.009)])
def test_impossible_slo_names_feasible_limits(slo: Slo) -> None:
    with pytest.raises(InfeasibleError, match="no replica can meet the SLO") as caught:
        check_slo(load([0.0] * 9, slo=slo), profile(), LIMITS)
    message = str(caught.value)
    # Alone: 200 prompt tokens at 10 ms and 0.088 ms each, and pairs; then 10 ms a step and its context.
    assert "TTFT of 0.028 s and TPOT of 0.01 s" in message
    assert "--slo" in message


def test_feasible_and_empty_slo_pass() -> None:
    check_slo(load([0.0] * 9), profile(), LIMITS)
    check_slo(load([0.0], waits=[True], slo=Slo(ttft_s=1e-9, tpot_s=1e-9)), profile(), LIMITS)
    check_slo(load([0.0], output_tokens=1), profile(), LIMITS)


def test_single_token_has_no_tpot() -> None:
    with pytest.raises(InfeasibleError, match=r"TTFT of 0\.028 s; loosen"):
        check_slo(load([0.0], output_tokens=1, slo=Slo(ttft_s=1e-3, tpot_s=1.0)), profile(), LIMITS)


def served(problems: list[Exception], **options: object) -> list[Profile]:
    catalog = facts.load(())
    stated = CompareOptions(hardware=("h100",), engine="vllm", **options)  # type: ignore[arg-type]
    return list(candidate_profiles(catalog, catalog.find_model("qwen3-32b"), stated, problems))


def test_memory_settings_change_every_profile() -> None:
    plain, small = served([]), served([], kv_cache_dtype="fp8")
    assert [p.kv_capacity_tokens * 2 for p in plain] == pytest.approx([p.kv_capacity_tokens for p in small], abs=1)
    more = served([], memory_utilization=0.95)
    assert all(m.kv_capacity_tokens > p.kv_capacity_tokens for m, p in zip(more, plain, strict=True))


def test_too_little_memory_leaves_larger_replicas() -> None:
    """At 70 % of its memory one GPU does not hold 61 GiB of weights; two do."""
    problems: list[Exception] = []
    assert [profile.gpus for profile in served(problems, memory_utilization=0.7)] == [2, 4, 8]
    assert "no memory for context" in str(problems[0])


def test_estimates_that_do_not_fit_say_so() -> None:
    """DeepSeek R1 takes 625 GiB in FP8: within the 640 of eight A100, but nothing is left to run in."""
    catalog = facts.load(())
    stated = CompareOptions(hardware=("a100",), engine="vllm", roofline=True)
    problems: list[Exception] = []
    assert not list(candidate_profiles(catalog, catalog.find_model("deepseek-r1"), stated, problems))
    assert "do not fit in memory" in str(problems[0])


def test_long_requests_fit_as_published() -> None:
    """GPUStack served requests of 32,080 tokens with Qwen3-32B in bf16 on one H100, in vLLM's default settings."""
    assert served([], tp=1)[0].kv_capacity_tokens >= 32_080


def test_precision_is_lowered_only_where_allowed() -> None:
    assert {profile.precision for profile in served([])} == {"bf16"}
    allowed = served([], allowed_precisions=("fp8",))
    assert {profile.precision for profile in allowed} == {"bf16", "fp8"}
    assert [profile for profile in allowed if profile.precision == "bf16"] == served([])


@pytest.mark.parametrize(("attention", "ranks"), [("any", [1, 8]), ("tp", [1]), ("dp", [8])])
def test_attention_is_split_as_asked(attention: str, ranks: list[int]) -> None:
    catalog = facts.load(())
    stated = CompareOptions(hardware=("h200",), tp=8, attention=Attention(attention))
    found = list(candidate_profiles(catalog, catalog.find_model("deepseek-r1"), stated, []))
    assert [profile.attention_ranks for profile in found] == ranks


def test_dense_model_has_no_ranks() -> None:
    problems: list[Exception] = []
    assert not served(problems, attention=Attention.DATA)
    assert "data-parallel attention" in str(problems[0])


def test_ranks_share_the_price_of_a_machine() -> None:
    """Two servers of four GPUs on eight: eight ranks, each for an eighth of the machine's hour."""
    requests = load(np.arange(10.0), 300, 50)
    ranks = msgspec.structs.replace(profile(), gpus=4, attention_ranks=4)
    one = machine(requests, replica=ranks)
    eight = replace(one, offer=replace(one.offer, gpus=8, usd_per_hour=16.0))
    assert (eight.servers, eight.replicas, eight.usd_per_replica_hour) == (2, 8, 2.0)


def test_small_steps_hold_backfill() -> None:
    """A step of 64 tokens, as llama.cpp's, has no room for a chunk of 64 beside others; it has for 14 of 56."""
    small = EngineLimits(max_num_seqs=8, max_num_batched_tokens=64)
    there = load([0.0] * 9)
    limits = max_backfill(machine(there, limits=small), there)
    assert limits.sequences == 8
    assert limits.prefill_tokens == 56
