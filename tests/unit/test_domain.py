"""Nouns that validate themselves."""

import pytest
from tests.samples.fleets import backfill

from meritorder.errors import InfeasibleError


def test_negative_prefill_tokens_refused() -> None:
    with pytest.raises(InfeasibleError, match="prompt tokens"):
        backfill(4, prefill_tokens=-1)


@pytest.mark.parametrize("kv_share", [-0.1, 1.1])
def test_backfill_kv_share_out_of_range(kv_share: float) -> None:
    with pytest.raises(InfeasibleError, match="KV memory"):
        backfill(4, kv_share=kv_share)


def test_backfill_scales_to_one_sequence() -> None:
    assert backfill(3, kv_share=0.8).scaled(0.1) == backfill(1, kv_share=0.8 * 0.1)
    assert backfill(0, kv_share=0.8).scaled(0.5).sequences == 0
