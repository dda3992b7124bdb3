"""A profile: one formula, twice written (the table that is simulated, and the step time that is asked)."""

import math

import msgspec
import numpy as np
import pytest

from meritorder.domain import Provenance
from meritorder.errors import PerformanceError
from meritorder.perf.profile import EngineLimits, Errors, Profile

LIMITS = EngineLimits(max_num_seqs=64, max_num_batched_tokens=512)


def profile(**changes: object) -> Profile:
    made = Profile(
        model="m",
        hardware="h",
        gpus=1,
        engine="vllm",
        precision="bf16",
        provenance=Provenance.CALIBRATED,
        source="by hand",
        as_of="2026-01-01",
        kv_capacity_tokens=10_000,
        decode_sequences=[1, 4, 16],
        decode_base_s=[0.010, 0.013, 0.019],
        decode_per_kv_token_s=[4e-7, 2e-7, 1e-7],
        step_tokens=[1, 128, 256],
        mixed_base_s=[0.010, 0.020, 0.040],
        prefill_per_pair_s=1e-9,
    )
    changed: Profile = msgspec.structs.replace(made, **changes)
    return changed


def test_times_interpolated_between_grid_points() -> None:
    assert float(profile().step_time_s(0, 2.5, 0)) == pytest.approx((0.010 + 0.013) / 2)
    assert float(profile().step_time_s(188, 4, 0)) == pytest.approx(0.030)


def test_times_extrapolated_beyond_the_grid() -> None:
    assert float(profile().step_time_s(0, 32, 0)) == pytest.approx(0.019 + 16 * (0.019 - 0.013) / 12)
    assert float(profile().step_time_s(512, 0, 0)) == pytest.approx(0.040 + 256 * 0.020 / 128)
    falling = profile(decode_base_s=[0.010, 0.013, 0.012])
    assert float(falling.step_time_s(0, 64, 0)) == pytest.approx(0.012)


def test_context_and_prompt_attention_added() -> None:
    assert float(profile().step_time_s(0, 4, 5000)) == pytest.approx(0.013 + 5000 * 2e-7)
    assert float(profile().step_time_s(124, 4, 5000, 1e6)) == pytest.approx(0.020 + 5000 * 2e-7 + 1e6 * 1e-9)
    assert float(profile().step_time_s(128, 0, 5000)) == pytest.approx(0.020), "nothing decodes, so nothing is read"


def test_overhead_added_to_every_step() -> None:
    late = profile(step_overhead_s=0.002)
    for asked in ((0, 3, 700), (100, 3, 700)):
        assert float(late.step_time_s(*asked)) == pytest.approx(float(profile().step_time_s(*asked)) + 0.002)


@pytest.mark.parametrize("overhead_s", [0.0, 0.003])
def test_step_table_equals_the_formula(overhead_s: float) -> None:
    one = profile(step_overhead_s=overhead_s)
    table = one.table(LIMITS)
    sequences = np.arange(1, LIMITS.max_num_seqs + 1)
    kv = 100.0 * sequences
    decode_s = table.decode_base_s[sequences] + table.decode_per_kv_token_s[sequences] * kv
    np.testing.assert_allclose(decode_s, one.step_time_s(0, sequences.astype(float), kv))
    assert len(table.mixed_base_s) == LIMITS.max_num_batched_tokens + LIMITS.max_num_seqs + 1
    prompt = np.arange(1, LIMITS.max_num_batched_tokens + 1)
    mixed_s = table.mixed_base_s[prompt + 7] + table.decode_per_kv_token_s[7] * 900 + table.prefill_per_pair_s * 5e4
    np.testing.assert_allclose(mixed_s, one.step_time_s(prompt.astype(float), 7, 900, 5e4))


def test_slowed_multiplies_every_step() -> None:
    slow = profile(step_overhead_s=0.001).slowed(1.3)
    for asked in ((0, 3, 700, 0), (100, 3, 700, 9000), (900, 0, 0, 4e5), (0, 90, 9000, 0)):
        assert float(slow.step_time_s(*asked)) == pytest.approx(
            1.3 * float(profile(step_overhead_s=0.001).step_time_s(*asked))
        )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.001])
@pytest.mark.parametrize("column", ["decode_base_s", "decode_per_kv_token_s", "mixed_base_s"])
def test_invalid_column_times_refused(column: str, bad: float) -> None:
    with pytest.raises(PerformanceError, match="negative or not a number"):
        profile(**{column: [0.01, bad, 0.02]}).__post_init__()


def test_invalid_scalar_times_refused() -> None:
    for field in ("prefill_per_pair_s", "step_overhead_s"):
        for bad in (math.nan, -1.0):
            with pytest.raises(PerformanceError, match="negative or not a number"):
                profile(**{field: bad}).__post_init__()


def test_no_memory_for_context_refused() -> None:
    with pytest.raises(PerformanceError, match="no memory for context"):
        profile(kv_capacity_tokens=0).__post_init__()


@pytest.mark.parametrize(
    "change",
    [
        {"decode_sequences": [1, 4]},
        {"decode_sequences": [4, 1, 16]},
        {"step_tokens": [1, 128, 128]},
        {"decode_base_s": [], "decode_per_kv_token_s": [], "decode_sequences": []},
    ],
)
def test_columns_off_their_grid_refused(change: dict[str, object]) -> None:
    with pytest.raises(PerformanceError, match="column"):
        profile(**change).__post_init__()


def test_step_of_zero_time_refused() -> None:
    for column in ("decode_base_s", "mixed_base_s"):
        with pytest.raises(PerformanceError, match="is 0"):
            profile(**{column: [0.0, 0.01, 0.02]}).__post_init__()


def test_errors_skip_missing_times() -> None:
    errors = Errors.between(np.array([1.1, 2.0, np.nan]), np.array([1.0, 2.0, 3.0]))
    assert errors == Errors(of_mean=0.0333, median=0.05, p90=0.09)
