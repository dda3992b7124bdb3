"""The page docs/validation.md: measured and simulated figures, and their errors."""

import datetime as dt
import platform
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from bench.validate import contradictions, flags, labels
from bench.validate.fitting import Pairs, measured
from bench.validate.mlperf import Offline
from bench.validate.published import Point, Published, coverage
from bench.validate.queues import Queue
from bench.validate.silicon import Row
from meritorder import __version__
from meritorder.perf.accuracy import SOURCE_SPREAD
from meritorder.perf.corrections import Correction
from meritorder.perf.profile import Profile

_TARGET_TPOT, _TARGET_TTFT = 0.08, 0.15
_TARGET_SYSTEMS: Final = ("h100", "h200", "b200")

_LOGS: Final = (
    "vLLM 0.19, 300 requests per configuration (casys-kaist/LLMServingSim, `bench/examples`, MIT). Calibrated on "
    "the first 150 requests, judged on the other 150; the engine's limits are fitted too. The fit starts from the "
    "shipped table if there is one, else from the data sheet. The first half of the second configuration does not "
    "determine `max_num_seqs`, since it never queues: the rule that no larger batch is assumed than was seen, "
    "rounded up to a power of two, finds it.\n"
)
_SAMPLE: Final = (
    "Measured 2025-10 to 2026-04 on vLLM 0.11 to 0.19, SGLang 0.5 and TensorRT-LLM 1.0 to 1.3. Each row is "
    "simulated as a closed loop of its concurrency: ten requests per client, all clients start at once, each "
    "sends its next request when it has its answer, lengths uniform in [0.8, 1] of the nominal as InferenceMAX "
    "draws them, prefix caching off; TTFT and TPOT are means. SGLang computes prompts in steps of their own, "
    "before decodes; the others mix them, TensorRT-LLM without splitting a prompt beside others. A CRC of a row, "
    "as the sample states it, decides whether it is fitted to or judged.\n\n"
    "**How rows are read.** {labels}\n\n"
    "**Settings of the servers.** {flags}\n\n"
    "**Rows that are dropped.** {contradictions}\n\n"
    "{out} The summary has the figures with them.\n\n"
    "**A correction** scales classes of operators (attention, communication, and dense layers and experts for "
    "each precision of the weights), and what context and prompts add; it adds host time to each step, to each "
    "sequence in a decode step, to each step with prompts, to each request and to each token of its prompt, and a "
    "wait of some decode steps before a request is scheduled, with a share of the wait that the server is "
    "configured for. Limits and memory are the engine's own (`perf.limits`, `perf.memory`), as `compare` assumes "
    "them. There is one correction for each (hardware, engine), and another for each model and precision with at "
    "least ten rows in each half. They ship in `perf/data/corrections.json`.\n"
)
_UNSTATED: Final = (
    "Rows do not state the engine's flags, which are known only from scripts that may have changed, nor whether "
    "the server was warm; TTFTs of one configuration differ by a factor of 2 and more. DeepSeek on TensorRT-LLM "
    "is often faster than its kernels, which multi-token prediction would explain, also in rows that no other row "
    "contradicts. Such rows are in the figures above.\n"
)
_MLPERF: Final = (
    "MLPerf Inference v5.1, closed, offline; tokens per second of one GPU. The replica is saturated within the "
    "limits of its engine's server, with prompts of the data set's mean length (778, 294 and 9,428 tokens) and "
    "outputs of the reported mean, both varying by half; the split over GPUs, for TensorRT-LLM including pipelines "
    "of 2 and 4 stages, is the fastest of those sampled. Llama 2 70B is simulated as Llama 3.1 70B; FP8 on "
    "TensorRT-LLM with an FP8 cache, as in NVIDIA's checkpoints. Submissions are tuned by hand, beyond a server's "
    "defaults.\n"
)
_PUBLISHED: Final = (
    "Throughputs of saturated servers that others have published, with their engines' defaults; no fit has seen one. "
    "Each is simulated as `compare` runs, with the limits, the memory and the correction that it uses. Where a number "
    "of requests is stated, that many are sent at once; else the replica is saturated. A positive error is too fast, "
    "so too cheap.\n\n"
    "GPUStack names its GPUs H100. At a batch of one a token of Qwen3-32B takes 43.4 ms there: 1.7 TB/s, which is 85 % "
    "of what an H100 PCIe reads and half of an H100 SXM; on the page where it names an H100 SXM, Qwen3-8B reads "
    "2.2 TB/s, more than an H100 PCIe can. Its points are of an H100 PCIe here; `as named` has the errors on an "
    "H100 SXM.\n\n"
    "The tables hold for vLLM 0.24, SGLang 0.5.14 and TensorRT-LLM 1.3 (on A100 0.14, 0.5.10 and 1.0). GPUStack "
    "measured vLLM 0.10 and 0.11, SGLang 0.5.3 to 0.5.5 and TensorRT-LLM 1.0 to 1.2: what the engines gained since "
    "counts as error here.\n"
)
_INTERVALS: Final = (
    "The range of a dollar is to hold eight in ten points of a source that it has not seen. It has the errors of the "
    "most specific group with ten points: of what the speed was corrected by, then engine, then hardware; drawn toward "
    "all errors the more the fewer points the group has, and widened by {spread:.2f} in the logarithm for what sources "
    "differ (`perf.accuracy.SOURCE_SPREAD`). Each source is left out once, beside one constant interval of all other "
    "points. A lower score is better.\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Silicon:
    """The rows judged, with simulated times: as shipped, corrected by engine, and corrected by model."""

    judged: Sequence[Row]
    raw: Pairs
    engine: Pairs
    model: Pairs
    missing: pl.DataFrame
    total: int
    distinct: int
    corrections: Sequence[Correction]


def page(
    silicon: Silicon,
    logs: Sequence[Profile],
    offline: Sequence[Offline],
    found: Sequence[Published],
    queues: Sequence[Queue],
) -> str:
    """Return the whole page."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    made = (
        f"Written by `make validate` on {today} with meritorder {__version__} and aiconfigurator-core 0.12.0, "
        f"Python {platform.python_version()}, {platform.machine()}; the figures are not edited by hand. "
        "To run it again: `make validate`, about ten minutes; the first run samples 230 replicas for ten minutes "
        "more.\n\n"
        "An error is |simulated / measured - 1|. Where something was fitted, the figures are of measurements that "
        "the fit has not seen.\n"
    )
    parts = [
        "# Validation\n",
        made,
        *_published(found),
        *_intervals(_points(silicon, offline, found)),
        *_summary(silicon, logs, offline, queues),
        *_logs(logs),
        *_silicon(silicon),
        *_mlperf(offline),
        *_queues(queues),
    ]
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def _share(value: float) -> str:
    return f"{value:.1%}".replace("%", " %") if abs(value) < 10 else "> 1000 %"


def _met(value: float, target: float) -> str:
    return "yes" if value <= target else "**no**"


def _errors(rows: Sequence[Row], simulated: Pairs) -> Pairs:
    """Return errors of TTFT, TPOT, E2E and throughput, shape (rows, 4); in a closed loop the last is 1 / E2E."""
    expected = measured(rows)
    e2e = np.array([row.e2e_s(*times) for row, times in zip(rows, simulated, strict=True)])
    real = np.array([row.e2e_s(*times) for row, times in zip(rows, expected, strict=True)])
    parts = [*np.abs(simulated / expected - 1).T, np.abs(e2e / real - 1), np.abs(real / e2e - 1)]
    return np.stack(parts, axis=1)


def _published(found: Sequence[Published]) -> list[str]:
    """Return the errors on published throughputs, by engine and one by one."""
    known = [result for result in found if result.error is not None]
    if not known:
        return []
    lines = []
    for engine in ("", *sorted({result.engine for result in known})):
        here = [result for result in known if engine in {"", result.engine}]
        errors = np.array([result.error for result in here])
        named = np.array([(result.as_named or 0) / result.measured - 1 for result in here])
        lines.append(
            (
                engine or "all",
                str(len(here)),
                *(_share(float(np.median(np.abs(errors)))), f"{np.median(errors):+.1%}"),
                *(
                    _share(float(np.quantile(np.abs(errors), 0.9))),
                    f"{np.median(np.abs(named)):.1%}, {np.median(named):+.1%}",
                ),
            )
        )
    rows = [
        (
            *(result.source, result.label, result.lengths, f"{result.measured:,.0f}"),
            *result.cells,
        )
        for result in found
    ]
    return [
        "## Published throughputs\n",
        _PUBLISHED,
        _table(("engine", "points", "median error", "bias", "p90", "median and bias as named"), lines),
        _table(("source", "server", "tokens", "measured", "simulated", "as named", "error"), rows),
    ]


def _points(silicon: Silicon, offline: Sequence[Offline], found: Sequence[Published]) -> list[Point]:
    """Return the errors of everything measured that no fit has seen, with its source."""
    own = {(c.hardware, c.engine, c.model, c.precision) for c in silicon.corrections}
    points = [
        Point(
            "NVIDIA gap analysis" if row.settings.fixed_lengths else "InferenceMAX",
            "model" if (*row.group, labels.models_of(row.model)[0], row.precision) in own else "engine",
            *row.group,
            float(error),
        )
        for row, error in zip(silicon.judged, _log_errors(silicon), strict=True)
        if not row.contradicted and np.isfinite(error)
    ]
    points += [
        Point(result.source, result.corrected, result.hardware, result.engine, float(-np.log(1 + result.error)))
        for result in found
        if result.error is not None
    ]
    return points + [
        Point("MLPerf", "engine", result.hardware, result.engine, float(np.log(result.measured / result.simulated)))
        for result in offline
        if result.simulated
    ]


def _log_errors(silicon: Silicon) -> Pairs:
    """Return log(measured / simulated) of the time of a request."""
    times = zip(silicon.judged, measured(silicon.judged), silicon.model, strict=True)
    return np.array([np.log(row.e2e_s(*theirs) / row.e2e_s(*ours)) for row, theirs, ours in times])


def _intervals(points: Sequence[Point]) -> list[str]:
    rows = [
        (
            row.source,
            str(row.points),
            *(_share(row.held), f"{row.score:.2f}", _share(row.constant_held), f"{row.constant_score:.2f}"),
        )
        for row in coverage(points)
    ]
    text = _INTERVALS.format(spread=SOURCE_SPREAD)
    head = ("source left out", "points", "held", "interval score", "held by the constant one", "its score")
    return ["## Intervals\n", text, _table(head, rows)]


def _summary(
    silicon: Silicon, logs: Sequence[Profile], offline: Sequence[Offline], queues: Sequence[Queue]
) -> list[str]:
    rows = []
    for profile in logs:
        if (c := profile.calibration) is None:
            continue
        for name, figure, target in (("E2E", c.e2e, 0.03), ("TPOT", c.tpot, 0.02), ("TTFT", c.ttft, 0.10)):
            of = f"{c.log}: mean {name} of unseen requests"
            rows.append((of, f"{target:.0%}", f"{figure.of_mean:+.1%}", _met(abs(figure.of_mean), target)))
    for form, simulated, everything in (
        ("as shipped", silicon.raw, False),
        ("corrected by engine", silicon.engine, False),
        ("corrected by engine, with rows that the sample contradicts", silicon.engine, True),
        ("and by model", silicon.model, False),
        ("and by model, with rows that the sample contradicts", silicon.model, True),
    ):
        kept = [i for i, row in enumerate(silicon.judged) if _counts(row, everything=everything)]
        errors = np.median(_errors([silicon.judged[i] for i in kept], simulated[kept]), axis=0)
        for column, name, target in ((1, "TPOT", _TARGET_TPOT), (0, "TTFT", _TARGET_TTFT)):
            of = f"silicon, H100/H200/B200, {len(kept):,} rows, {form}: median {name}"
            rows.append((of, f"{target:.0%}", _share(errors[column]), _met(float(errors[column]), target)))
    known = [result for result in offline if result.simulated is not None]
    if known:
        error = float(np.median([abs((result.simulated or 0) / result.measured - 1) for result in known]))
        rows.append((f"MLPerf offline, {len(known)} results: median", "10%", _share(error), _met(error, 0.10)))
    if queues:
        worst = max(abs(queue.simulated / queue.exact - 1) for queue in queues)
        rows.append((f"queues, {len(queues)} waits: worst", "2%", _share(worst), _met(worst, 0.02)))
    return ["## Summary\n", _table(("figure", "target", "measured", "met"), rows)]


def _counts(row: Row, *, everything: bool) -> bool:
    return row.hardware in _TARGET_SYSTEMS and (everything or not row.contradicted)


def _logs(logs: Sequence[Profile]) -> list[str]:
    rows = []
    for profile in logs:
        if (c := profile.calibration) is None:
            continue
        for name, e in (("TTFT", c.ttft), ("TPOT", c.tpot), ("E2E", c.e2e)):
            rows.append((c.log, name, f"{e.of_mean:+.1%}", f"{e.median:.1%}", f"{e.p90:.1%}"))
    return ["## Real vLLM logs\n", _LOGS, _table(("configuration", "time", "error of the mean", "median", "p90"), rows)]


def _silicon(silicon: Silicon) -> list[str]:
    rows = f"{silicon.total:,} aggregated rows, {silicon.distinct:,} of them distinct measurements"
    return [
        "## Silicon\n",
        f"`silicon_sample.csv` in aiconfigurator-core 0.12.0: {rows}. {_describe_sample(silicon)}",
        "### By hardware and engine\n",
        _errors_table(silicon, lambda row: row.group, ("hardware", "engine")),
        "### By model\n",
        _errors_table(
            silicon, lambda row: (*row.group, row.model, row.precision), ("hardware", "engine", "model", "precision")
        ),
        "### The corrections\n",
        _corrections(silicon.corrections),
        "### Rows without data\n",
        _missing(silicon),
        "### What the sample does not state\n",
        _UNSTATED,
    ]


def _describe_sample(silicon: Silicon) -> str:
    """Return the description of the sample, with the rules from the docstrings of the modules that apply them."""
    out = Counter(row.contradicted for row in silicon.judged if row.contradicted)
    listed = "; ".join(f"{count} as {reason}" for reason, count in out.most_common())
    return _SAMPLE.format(
        labels=_rules(labels.__doc__),
        flags=_rules(flags.__doc__),
        contradictions=_rules(contradictions.__doc__),
        out=f"Of {len(silicon.judged):,} rows to judge, {sum(out.values())} are dropped: {listed}.",
    )


def _rules(text: str | None) -> str:
    """Return a module's docstring after its first sentence."""
    return (text or "").partition("\n\n")[2].strip()


def _errors_table(silicon: Silicon, key: object, names: Sequence[str]) -> str:
    found: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(silicon.judged):
        if row.contradicted:
            continue
        found[key(row)].append(index)  # type: ignore[operator]
    lines = []
    for group, indices in sorted(found.items()):
        rows = [silicon.judged[i] for i in indices]
        cells = [*group, str(len(rows))]
        for simulated in (silicon.raw, silicon.engine, silicon.model):
            errors = _errors(rows, simulated[indices])
            middle, high = np.median(errors, axis=0), np.quantile(errors, 0.9, axis=0)
            cells += [f"{_share(middle[0])} / {_share(high[0])}", f"{_share(middle[1])} / {_share(high[1])}"]
            if simulated is silicon.model:
                cells += [f"{_share(middle[2])} / {_share(high[2])}", f"{_share(middle[3])} / {_share(high[3])}"]
        lines.append(cells)
    head = [
        *names,
        "rows",
        *("TTFT shipped", "TPOT shipped", "TTFT by engine", "TPOT by engine", "TTFT by model", "TPOT by model"),
        *("E2E by model", "throughput by model"),
    ]
    return "Median / p90 of the error on the judged half.\n\n" + _table(head, lines)


def _corrections(corrections: Sequence[Correction]) -> str:
    lines = []
    for c in corrections:
        t = c.tuning
        name = " ".join(filter(None, (c.hardware, c.engine, c.model, c.precision)))
        lines.append(
            (
                name,
                f"{c.fitted_on} + {c.judged_on}",
                "; ".join(f"{kind} {scale:.2f}" for kind, scale in c.operator_scales.items()),
                *(f"{t[scale]:.2f}" for scale in ("kv_scale", "prefill_scale")),
                f"{t['sequence_overhead_s'] * 1e6:.1f} µs",
                f"{t['step_overhead_s'] * 1e3:.2f} ms",
                f"{c.prompt_step_s * 1e3:.1f} ms",
                f"{t['request_overhead_s'] * 1e3:.0f} ms",
                f"{c.prompt_token_overhead_s * 1e6:.1f} µs",
                f"{c.first_token_steps:.1f}",
                f"{c.told_share:.2f}",
            )
        )
    times = ("a sequence", "a step", "a step with prompts", "a request", "a prompt token", "steps before", "poll share")
    return _table(("for", "rows", "operators", "KV", "prefill", *times), lines)


def _missing(silicon: Silicon) -> str:
    if silicon.missing.is_empty():
        return "Nothing.\n"
    columns = ("model_path", "system", "backend", "precision", "reason")
    counts = Counter(silicon.missing.select(columns).rows())
    lines = [(*key[:4], str(count), key[4].replace("|", "/")[:90]) for key, count in counts.most_common()]
    text = f"{silicon.missing.height} of {silicon.distinct:,} distinct rows cannot be simulated.\n\n"
    return text + _table(("model", "system", "engine", "precision", "rows", "reason"), lines)


def _mlperf(offline: Sequence[Offline]) -> list[str]:
    lines = []
    for result in offline:
        if result.simulated is None:
            cells = ["-", "-", f"no data: {result.reason}"[:80]]
        else:
            error, plain = result.simulated / result.measured - 1, (result.uncorrected or 0) / result.measured - 1
            cells = [f"{result.simulated:,.0f}", f"{plain:+.1%}", f"{error:+.1%}"]
        place = f"{result.gpus} x {result.accelerator}"
        labels_of = (result.model, place, result.submitter, result.weights, result.software)
        lines.append((*labels_of, f"{result.measured:,.0f}", *cells))
    head = ("model", "GPUs", "submitter", "weights", "software", "measured", "simulated", "as shipped", "corrected")
    return ["## MLPerf offline\n", _MLPERF, _table(head, lines)]


def _queues(queues: Sequence[Queue]) -> list[str]:
    rows = [queue.cells for queue in queues]
    text = "Mean wait over mean service; more loads and servers in `tests/oracle/test_queueing.py`.\n"
    return ["## Queueing theory\n", text, _table(("queue", "load", "simulated", "exact", "error"), rows)]
