"""Limits of the engine: what is stated goes before what a profile knows, and that before the engine's defaults."""

import msgspec
from tests.samples.fleets import profile

from meritorder.perf.limits import default_limits
from meritorder.perf.profile import EngineLimits
from meritorder.study.fleet.options import CompareOptions


def test_stated_limits_override_profile() -> None:
    known = msgspec.structs.replace(profile(), limits=EngineLimits(max_num_seqs=64, max_num_batched_tokens=2048))
    assert CompareOptions().engine_limits(known) == known.limits
    stated = CompareOptions(max_num_seqs=8).engine_limits(known)
    assert (stated.max_num_seqs, stated.max_num_batched_tokens) == (8, 2048)
    assert CompareOptions(max_num_batched_tokens=4096).engine_limits(known).max_num_batched_tokens == 4096


def test_engine_limits_are_the_default() -> None:
    assert CompareOptions().engine_limits(profile()) == default_limits("vllm", "h100")
    assert CompareOptions().engine_limits(msgspec.structs.replace(profile(), engine="sglang")).prefill_first
