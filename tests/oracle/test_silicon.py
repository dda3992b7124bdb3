"""Measured servers: rows of the silicon sample that no correction was fitted to, simulated as closed loops."""

import numpy as np
import polars as pl
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("system", "model"), [("h200_sxm", "meta-llama/Llama-3.1-70B"), ("h100_sxm", "Qwen/Qwen3-32B")]
)
def test_corrected_vllm_profiles_meet_targets(system: str, model: str) -> None:
    pytest.importorskip("aiconfigurator_core", reason="needs the extra silicon")
    from bench.validate import fitting
    from bench.validate.sample import silicon
    from bench.validate.sample.labels import models_of

    from meritorder.perf.shipped import shipped_corrections

    wanted = (pl.col("system") == system) & (pl.col("backend") == "vllm") & (pl.col("model_path") == model)
    rows, _ = silicon.rows(only=wanted)
    by_key = {
        (shipped.hardware, shipped.engine, shipped.model, shipped.precision): shipped
        for shipped in shipped_corrections()
    }
    errors = []
    for row in rows:
        correction = by_key.get((*row.group, models_of(row.model)[0], row.precision))
        if row.half == 1 and not row.contradicted and correction is not None:
            errors.append(np.abs(fitting.predicted([row], correction)[0] / fitting.measured([row])[0] - 1))
    ttft, tpot = np.median(errors, axis=0)
    assert len(errors) >= 10
    assert tpot <= 0.08
    assert ttft <= 0.20
