"""Corrections to the labels of the silicon sample: the GPUs of a row, and rows that are the same measurement.

Rows from InferenceMAX (those that are not of NVIDIA's own gap analysis) state the GPUs of the experts' split twice. A
server of 8 GPUs with 8-way expert parallelism is labeled `tp 64, moe_tp 8, moe_ep 8`, or, where attention is data
parallel, as `attention_dp 64`, and `tp 4, attention_dp 4, moe_ep 16` for 4 GPUs. No such server has 64 GPUs: the
measurements were made on machines of 8, and 69 of them are in the sample a second time, equal to the last digit, as
`tp 8, moe_tp 1, moe_ep 8` and so on. All rows of that form are read in the second form.

A measurement that is in the sample under several names (DeepSeek R1 and V3, two labels, two versions) counts once.
"""

from typing import Final

import polars as pl

_DEEPSEEK_R1: Final = ("deepseek-r1", "deepseek-v3", "deepseek-v3.1")
_DEEPSEEK_V3: Final = ("deepseek-v3", "deepseek-v3.1", "deepseek-r1")
MODELS: Final = {
    "DeepSeek-R1": _DEEPSEEK_R1,
    "DeepSeek-R1-NVFP4": _DEEPSEEK_R1,
    "DeepSeek-V3": _DEEPSEEK_V3,
    "DeepSeek-V3.1-NVFP4": _DEEPSEEK_V3,
    "Kimi-K2.5": ("kimi-k2.5", "kimi-k2.6", "kimi-k2.7-code"),
    "Llama-3.1-70B": ("llama-3.1-70b", "llama-3.3-70b"),
    "Llama-3.1-8B-Instruct": ("llama-3.1-8b",),
    "Llama-3.1-8B-Instruct-FP8": ("llama-3.1-8b",),
    "MiniMax-M2.5": ("minimax-m2.5", "minimax-m2.7"),
    "Qwen3-235B-A22B-FP8": ("qwen3-235b-a22b",),
    "Qwen3-32B-NVFP4": ("qwen3-32b",),
    # Layers of one size: 2,880 wide, 64 heads, experts of 2,880; the smaller has fewer of them, and fewer layers.
    "gpt-oss-120b": ("gpt-oss-120b", "gpt-oss-20b"),
}
"""Names in the sample -> `Model.id` of each model with these layers, its own first; others differ by case only."""
_SPLIT_COLUMNS: Final = ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
_MEASUREMENT: Final = ("system", "backend", "isl", "osl", "concurrency", "silicon_ttft_ms", "silicon_tpot_ms")


def correct_labels(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with the true split over GPUs, and `batch_size` as the concurrency of one rank."""
    tp, ranks, moe_tp, moe_ep = (pl.col(name).fill_null(1) for name in _SPLIT_COLUMNS)
    foreign = ~pl.col("silicon_data_source").str.contains("auto-gap-analysis")
    stated = pl.col("silicon_data_source").str.extract(r"silicon_concurrency=(\d+)").cast(pl.Int64)
    concurrency = pl.coalesce(stated, pl.col("batch_size") * ranks)
    doubled = foreign & (moe_tp > 1) & (moe_ep > 1) & (tp * ranks == moe_tp * moe_ep)
    squared = foreign & (tp > 1) & (tp == ranks) & (moe_ep == tp * ranks)
    gpus = pl.when(doubled).then(moe_tp).otherwise(tp)
    parallel = ranks > 1
    wrong = doubled | squared
    return rows.with_columns(
        concurrency=concurrency,
        batch_size=pl.when(wrong)
        .then(pl.when(parallel).then((concurrency / gpus).ceil()).otherwise(concurrency))
        .otherwise(pl.col("batch_size"))
        .cast(pl.Int64),
        tp_size=pl.when(wrong).then(pl.when(parallel).then(1).otherwise(gpus)).otherwise(pl.col("tp_size")),
        attention_dp_size=pl.when(wrong)
        .then(pl.when(parallel).then(gpus).otherwise(1))
        .otherwise(pl.col("attention_dp_size")),
        moe_tp_size=pl.when(wrong).then(1).otherwise(pl.col("moe_tp_size")),
        moe_ep_size=pl.when(wrong).then(gpus).otherwise(pl.col("moe_ep_size")),
    )


def models_of(name: str) -> tuple[str, ...]:
    """Return the `Model.id` of each model that has the architecture of a model of the sample, its own first."""
    return MODELS.get(name, (name.lower(),))


def drop_repeated(rows: pl.DataFrame) -> pl.DataFrame:
    """Return each measurement once, under its first name."""
    return rows.unique(_MEASUREMENT, keep="first", maintain_order=True)
