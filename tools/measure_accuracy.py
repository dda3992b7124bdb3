"""Measure how far the shipped profiles are from servers, on NVIDIA's silicon sample.

    pip install 'meritorder[silicon]'
    python tools/measure_accuracy.py

Prints the rows of src/meritorder/perf/data/accuracy.toml.
"""

import sys
from importlib.resources import files

import numpy as np
import polars as pl

from meritorder.perf.shipped import profiles
from meritorder.units import MS_PER_S

# The sample's names of the models that ship.
MODELS = {
    "meta-llama/Llama-3.1-70B": "llama-3.1-70b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "llama-3.1-8b",
    "Qwen/Qwen3-32B": "qwen3-32b",
    "Qwen/Qwen3-235B-A22B-FP8": "qwen3-235b-a22b",
    "openai/gpt-oss-120b": "gpt-oss-120b",
    "deepseek-ai/DeepSeek-R1": "deepseek-r1",
    "deepseek-ai/DeepSeek-V3": "deepseek-v3",
}
# What the sample calls fp4 is the native format of these weights.
NATIVE_FP4 = "mxfp4"


def main() -> None:
    """Compare each aggregated row with the profile of its replica, and print the medians."""
    shipped = {(p.model, p.hardware, p.engine, p.precision, p.gpus): p for p in profiles()}
    sample = pl.read_csv(
        str(files("aiconfigurator_core") / "systems" / "silicon_sample.csv"), infer_schema_length=None
    ).filter(pl.col("mode") == "agg")
    errors: dict[tuple[str, str], list[float]] = {}
    for row in sample.iter_rows(named=True):
        hardware = row["system"].split("_")[0]
        model = MODELS.get(row["model_path"], "")
        wanted = [row["precision"]] if row["precision"] in ("bf16", "fp8") else [NATIVE_FP4, "bf16", "fp8"]
        keys = [(model, hardware, row["backend"], precision, row["tp_size"]) for precision in wanted]
        profile = next((shipped[key] for key in keys if key in shipped), None)
        if profile is None:
            continue
        users, prompt, output = row["batch_size"], row["isl"], row["osl"]
        decode_s = float(profile.step_time_s(0, users, users * (prompt + output / 2)))
        prompt_s = float(profile.step_time_s(prompt, 0, 0, prompt * prompt / 2))
        tpot_s = decode_s + users / output * prompt_s
        errors.setdefault((row["backend"], hardware), []).append(abs(tpot_s * MS_PER_S / row["silicon_tpot_ms"] - 1))
    for (engine, hardware), found in sorted(errors.items()):
        sys.stdout.write(
            f'[[measured]]\nengine = "{engine}"\nhardware = "{hardware}"\n'
            f"error = {np.median(found):.3f}\nrows = {len(found)}\n\n"
        )


if __name__ == "__main__":
    main()
