"""`python -m bench.validate`: fit the corrections, judge the simulator, and write the page.

With `--keep` the shipped corrections are judged again, not fitted again.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from bench.validate import fitting, left_out, mlperf, outside, published, queues, twins
from bench.validate.errors import Silicon, all_points, known_errors
from bench.validate.page import page
from bench.validate.sample import silicon
from bench.validate.sample.labels import models_of
from meritorder.perf.corrections import Correction
from meritorder.perf.profile import Profile
from meritorder.perf.shipped import shipped_corrections, shipped_errors
from meritorder.study.calibrate.calibrate import KnownLimits, calibrate_logs
from meritorder.study.calibrate.starting import Deployment

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs/validation.md"
_DATA = _ROOT / "src/meritorder/perf/data"
_LOG = _ROOT.parent / "shared/data/measured/vllm_0.19_requests.csv"
_FITTED_REQUESTS = 150


def _say(text: str) -> None:
    sys.stderr.write(f"\r\033[K{text}")
    sys.stderr.flush()


def main() -> None:
    """Run the whole validation."""
    logging.disable(logging.WARNING)
    rows, missing = silicon.rows(_say)
    if "--keep" not in sys.argv:
        found = left_out.earned(rows, fitting.corrections(rows, _say), _say)
        _write(_DATA / "corrections.json", found)
        shipped_corrections.cache_clear()
    _say("judging")
    distinct, total = silicon.read_sample()
    judged = _judged(rows, shipped_corrections(), missing, total, distinct.height)
    offline, found_by_others = mlperf.results(), published.results()
    points = all_points(judged, offline, found_by_others)
    _write(_DATA / "errors.json", known_errors(judged, points))
    shipped_errors.cache_clear()
    opening = [*outside.sections(found_by_others, points), *twins.section(judged)]
    text = page(judged, _logs(), offline, queues.queues(), opening)
    _PAGE.write_text(text, encoding="utf-8")
    _say(f"written: {_PAGE.relative_to(_ROOT)}, {_DATA.relative_to(_ROOT)}\n")


def _write(path: Path, content: object) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")


def _logs() -> list[Profile]:
    """Return the calibrated profile of each configuration of the log, with its errors; none if the log is absent."""
    if not _LOG.exists():
        return []
    return calibrate_logs([str(_LOG)], Deployment(), KnownLimits(), fit=_FITTED_REQUESTS, progress=_say)


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
        special = by_key.get((*row.group, models_of(row.model)[0], row.precision), general)
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
