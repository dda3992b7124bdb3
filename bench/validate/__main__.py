"""`python -m bench.validate`: fit the corrections, judge the simulator, and write the page.

With `--keep` the shipped corrections are judged again, not fitted again.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from bench.validate import fitting, logs, mlperf, queues, silicon
from bench.validate.page import Silicon, page
from meritorder.perf.corrections import Correction
from meritorder.perf.profile import Profile
from meritorder.perf.shipped import shipped_corrections

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs/validation.md"
_CORRECTIONS = _ROOT / "src/meritorder/perf/data/corrections.json"
# Names in the sample -> `Model.id`.
_MODELS = {
    "DeepSeek-R1": "deepseek-r1",
    "DeepSeek-V3": "deepseek-v3",
    "Kimi-K2.5": "kimi-k2.5",
    "Llama-3.1-70B": "llama-3.1-70b",
    "Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "MiniMax-M2.5": "minimax-m2.5",
    "Qwen3-235B-A22B-FP8": "qwen3-235b-a22b",
    "Qwen3-32B": "qwen3-32b",
    "Qwen3.5-397B-A17B": "qwen3.5-397b-a17b",
    "gpt-oss-120b": "gpt-oss-120b",
}


def _say(text: str) -> None:
    sys.stderr.write(f"\r\033[K{text}")
    sys.stderr.flush()


def main() -> None:
    """Run the whole validation."""
    logging.disable(logging.WARNING)
    rows, missing = silicon.rows(_say)
    if "--keep" not in sys.argv:
        found = [_named(found) for found in fitting.corrections(rows, _say)]
        _CORRECTIONS.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
        shipped_corrections.cache_clear()
    _say("judging")
    distinct, total = silicon.read_sample()
    text = page(
        _judged(rows, shipped_corrections(), missing, total, distinct.height),
        _logs(),
        mlperf.results(),
        queues.queues(),
    )
    _PAGE.write_text(text, encoding="utf-8")
    _say(f"written: {_PAGE.relative_to(_ROOT)}, {_CORRECTIONS.relative_to(_ROOT)}\n")


def _named(correction: Correction) -> Correction:
    """Return the correction with the model's id."""
    return msgspec.structs.replace(correction, model=_ours(correction.model))


def _ours(model: str) -> str:
    return _MODELS.get(model, model.lower())


def _logs() -> list[Profile]:
    return logs.profiles(_say)


def _judged(
    rows: Sequence[silicon.Row], found: Sequence[Correction], missing: object, total: int, distinct: int
) -> Silicon:
    """Simulate the judged half as shipped, and with the corrections of the engine and of the model."""
    judged = [row for row in rows if row.half == 1]
    by_key = {(item.hardware, item.engine, item.model, item.precision): item for item in found}
    raw = fitting.predicted(judged, None)
    engine, model = raw.copy(), raw.copy()
    for index, row in enumerate(judged):
        general = by_key.get((*row.group, "", ""))
        special = by_key.get((*row.group, _ours(row.model), row.precision), general)
        for column, correction in ((engine, general), (model, special)):
            if correction is not None:
                column[index] = fitting.predicted([row], correction)[0]
    return Silicon(
        judged=judged,
        raw=np.asarray(raw),
        engine=engine,
        model=model,
        missing=missing,  # type: ignore[arg-type]
        total=total,
        distinct=distinct,
        corrections=found,
    )


if __name__ == "__main__":
    main()
