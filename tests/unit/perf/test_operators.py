import numpy as np
import pytest

from meritorder import catalog
from meritorder.perf.operators import DECODE_POINTS, STEP_POINTS, OperatorShares, operator_class
from meritorder.perf.shipped import shipped_profiles

SHARES = OperatorShares.from_times(
    [{"dense": 1.0, "other": 1.0}] * len(DECODE_POINTS), [{"experts": 3.0, "attention": 1.0}] * len(STEP_POINTS)
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("generation_attention", "attention"),
        ("context_mla_block", "attention"),
        ("generation_moe_overlap", "experts"),
        ("context_ar_1", "communication"),
        ("generation_embedding_ar", "communication"),
        ("context_gate_ffn1_gemm", "dense"),
        ("generation_logits_gemm", "dense"),
        ("context_add_norm_2", "other"),
        ("generation_act_gate", "other"),
    ],
)
def test_operator_classes_by_name(name: str, kind: str) -> None:
    assert operator_class(name) == kind


def test_class_scaled_by_its_share() -> None:
    assert SHARES.decode == {"dense": [0.5] * 4}
    np.testing.assert_allclose(SHARES.decode_factors([1, 20, 4000], {"dense": 1.2, "experts": 9.0}), 1.1)
    np.testing.assert_allclose(SHARES.step_factors([1, 1000], {"attention": 2.0, "experts": 0.5}), 1 + 0.25 - 0.375)


def test_shares_interpolated_in_log_size() -> None:
    growing = OperatorShares(decode={"dense": [0.0, 0.3, 0.6, 0.9]}, step={})
    np.testing.assert_allclose(growing.decode_factors([1, 8, 512], {"dense": 2.0}), [1.0, 1.3, 1.9])
    assert growing.decode_factors([23], {"dense": 2.0})[0] == pytest.approx(1.3 + 0.3 * np.log(23 / 8) / np.log(8))


def test_shipped_profiles_have_operator_shares() -> None:
    models = catalog.load(()).models
    for profile in shipped_profiles():
        shares = profile.operators
        assert shares is not None
        for columns in (shares.decode, shares.step):
            total = np.sum(list(columns.values()), axis=0)
            assert (total > 0.2).all()
            assert (total < 1.01).all()
        assert ("experts" in shares.decode) == models[profile.model].is_mixture
