from pathlib import Path

import numpy as np
import pytest

from meritorder.domain import Provenance
from meritorder.errors import PerformanceError, TraceError
from meritorder.perf.calibration import Tuning
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.perf.shipped import load_profiles, shipped_profiles, to_toml
from meritorder.study.calibrate.calibrate import KnownLimits, calibrate, replay
from meritorder.traces.timed import TimedLog

HIDDEN = Tuning(decode_scale=1.25, kv_scale=1.4, prefill_scale=1.6, step_overhead_s=1.5e-3, request_overhead_s=8e-3)


def base() -> Profile:
    return next(
        p for p in shipped_profiles() if (p.model, p.hardware, p.gpus, p.engine) == ("llama-3.1-8b", "h100", 1, "vllm")
    )


def served(limits: EngineLimits, *, count: int = 300, per_s: float = 18.0) -> tuple[TimedLog, Profile]:
    """Return a log that an engine of known parameters wrote."""
    rng = np.random.default_rng(7)
    log = TimedLog(
        name="made up",
        model="llama-3.1-8b",
        hardware="h100",
        gpus=1,
        replicas=1,
        # Busy and quiet minutes take turns, so that small and large batches are seen.
        arrived_s=np.cumsum(rng.exponential(np.where(np.arange(count) % 60 < 30, 0.4, 1.6) / per_s)),
        input_tokens=np.clip(rng.lognormal(6.5, 0.9, count), 16, 6000).astype(np.int32),
        cached_tokens=np.zeros(count, np.int32),
        output_tokens=np.clip(rng.lognormal(5.3, 0.6, count), 2, 1200).astype(np.int32),
        ttft_s=np.zeros(count),
        tpot_s=np.zeros(count),
        e2e_s=np.zeros(count),
    )
    truth = HIDDEN.apply(base())
    times = replay(log, truth, limits)
    noise = rng.normal(1.0, 0.02, (3, count))
    values = {name: getattr(log, name) for name in TimedLog.__slots__}
    timed = dict(zip(("ttft_s", "tpot_s", "e2e_s"), np.array(times) * noise, strict=True))
    return TimedLog(**values | timed), truth


def test_hidden_parameters_recovered() -> None:
    log, truth = served(EngineLimits(max_num_seqs=256, max_num_batched_tokens=2048))
    found = calibrate(log, base(), KnownLimits())
    assert found.provenance is Provenance.CALIBRATED
    calibration = found.calibration
    assert calibration is not None
    assert calibration.unseen
    for errors in (calibration.ttft, calibration.tpot, calibration.e2e):
        assert abs(errors.of_mean) < 0.02
    # Steps that the log is made of cost what they cost in truth, though scales and overheads may share it otherwise.
    for prompt, batch in ((0, 8), (0, 24), (0, 48), (512, 24), (2048, 0)):
        ours = found.step_time_s(prompt, batch, batch * 1000, prompt * prompt / 2)
        assert float(ours) == pytest.approx(
            float(truth.step_time_s(prompt, batch, batch * 1000, prompt**2 / 2)), rel=0.06
        )


def test_sequence_limit_found_from_queue() -> None:
    log, _ = served(EngineLimits(max_num_seqs=16, max_num_batched_tokens=2048))
    found = calibrate(log, base(), KnownLimits())
    assert found.limits is not None
    assert found.limits.max_num_seqs == 16
    assert found.calibration is not None
    assert "max_num_seqs" not in found.calibration.assumed


def test_stated_limits_not_fitted() -> None:
    log, _ = served(EngineLimits(max_num_batched_tokens=2048), count=60)
    found = calibrate(log, base(), KnownLimits(max_num_seqs=77, max_num_batched_tokens=3000))
    assert found.limits == EngineLimits(max_num_seqs=77, max_num_batched_tokens=3000)


def test_short_log_refused() -> None:
    log, _ = served(EngineLimits(), count=10)
    with pytest.raises(TraceError, match="only 5 requests"):
        calibrate(log, base(), KnownLimits())


def test_calibrated_profiles_survive_round_trip(tmp_path: Path) -> None:
    log, _ = served(EngineLimits(), count=60)
    found = calibrate(log, base(), KnownLimits(max_num_seqs=64, max_num_batched_tokens=2048))
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text(to_toml([found]))
    two.write_text(to_toml([found, base()]))
    assert load_profiles(one) == (found,)
    assert load_profiles(two) == (found, base())


def test_other_file_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    path.write_text("model = 3")
    with pytest.raises(PerformanceError, match="not a profile"):
        load_profiles(path)
    with pytest.raises(PerformanceError, match="cannot be read"):
        load_profiles(tmp_path / "none.toml")
