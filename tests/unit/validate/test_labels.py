"""Rows of the silicon sample: read rightly, counted once, and left out where the sample contradicts them."""

from typing import Any

import msgspec
import polars as pl
import pytest
from bench.validate.sample.contradictions import contradicted, has_cached_prompts
from bench.validate.sample.labels import correct_labels, drop_repeated, models_of
from tests.samples.fleets import profile

SPLIT = ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size", "batch_size")


def row(**changes: object) -> dict[str, Any]:
    return {
        "id": "a",
        "system": "b200_sxm",
        "backend": "sglang",
        "backend_version": "0.5.9",
        "model_path": "some/Model",
        "precision": "fp8",
        "isl": 1024,
        "osl": 1024,
        "silicon_data_source": "db-dump; silicon_concurrency=64; measured=2026-03-25T00:00; image",
        "tp_size": 8,
        "attention_dp_size": 1,
        "moe_tp_size": 1,
        "moe_ep_size": 8,
        "batch_size": 64,
        "concurrency": 64,
        "silicon_ttft_ms": 200.0,
        "silicon_tpot_ms": 10.0,
    } | changes


@pytest.mark.parametrize(
    ("stated", "meant"),
    [
        ((64, 1, 8, 8, 64), (8, 1, 1, 8, 64)),
        ((16, 1, 4, 4, 64), (4, 1, 1, 4, 64)),
        ((1, 64, 8, 8, 1), (1, 8, 1, 8, 8)),
        ((4, 4, 1, 16, 16), (1, 4, 1, 4, 16)),
        ((8, 1, 1, 8, 64), (8, 1, 1, 8, 64)),
        ((1, 8, 1, 8, 8), (1, 8, 1, 8, 8)),
        ((8, 1, 8, 1, 64), (8, 1, 8, 1, 64)),
    ],
)
def test_doubly_counted_gpus_corrected(stated: tuple[int, ...], meant: tuple[int, ...]) -> None:
    read = correct_labels(pl.DataFrame([row(**dict(zip(SPLIT, stated, strict=True)))]))
    assert read.select(SPLIT).row(0) == meant
    assert read["concurrency"].item() == 64


def test_gap_analysis_rows_unchanged() -> None:
    own = row(silicon_data_source="aic-auto-gap-analysis/x.csv", moe_tp_size=2, moe_ep_size=2, tp_size=4)
    assert correct_labels(pl.DataFrame([own])).select(SPLIT).row(0) == (4, 1, 2, 2, 64)


def test_repeated_measurement_counts_once() -> None:
    rows = pl.DataFrame([row(), row(id="b", model_path="another/Name"), row(id="c", silicon_tpot_ms=11.0)])
    assert drop_repeated(correct_labels(rows))["id"].to_list() == ["a", "c"]


def test_outlier_of_configuration_dropped() -> None:
    rows = [row(), row(id="b", silicon_tpot_ms=10.5), row(id="c", silicon_tpot_ms=40.0)]
    assert contradicted(rows) == {"c": "twice or half the median of its configuration"}
    assert contradicted(rows[1:]) == {}


def test_speculative_run_dropped() -> None:
    slow = [row(id=f"slow {c}", model_path="deepseek-ai/DeepSeek-R1", concurrency=c) for c in (4, 8)]
    source = "db-dump; silicon_concurrency=4; measured=2026-04-01"
    fast = [
        measurement
        | {"id": measurement["id"].replace("slow", "fast"), "silicon_data_source": source, "silicon_tpot_ms": 6.0}
        for measurement in [*slow, row(id="slow 16", model_path="deepseek-ai/DeepSeek-V3", concurrency=16)]
    ]
    assert set(contradicted([*slow, *fast])) == {"fast 4", "fast 8", "fast 16"}
    others = [measurement | {"model_path": "some/Model"} for measurement in [*slow, *fast]]
    assert contradicted(others) == {}


def test_cold_run_dropped_at_all_concurrencies() -> None:
    cold = [row(concurrency=4, silicon_ttft_ms=5000.0), row(id="b", concurrency=64, silicon_ttft_ms=9000.0)]
    assert set(contradicted(cold)) == {"a", "b"}
    assert contradicted([cold[1]]) == {}


@pytest.mark.parametrize(("request_s", "cached"), [(3.5, True), (3.7, False)])
def test_prompts_faster_than_kernels_were_cached(request_s: float, cached: bool) -> None:  # noqa: FBT001
    """Four clients, 1,000 tokens at 1 ms each: 0.9 of 4 s. Pairs add nothing here."""
    kernels = msgspec.structs.replace(
        profile(), step_tokens=[1, 1000], mixed_base_s=[0.01, 1.0], prefill_per_pair_s=0.0
    )
    assert has_cached_prompts(kernels, 4, 1000.0, request_s) is cached


def test_models_with_the_same_layers_share_corrections() -> None:
    assert models_of("gpt-oss-120b") == ("gpt-oss-120b", "gpt-oss-20b")
    assert models_of("Qwen3-235B-A22B") == ("qwen3-235b-a22b",)
