"""The page docs/validation.md: measured and simulated figures, and their errors."""

import datetime as dt
import platform
from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

import numpy as np

from bench.validate.errors import Silicon
from bench.validate.fitting import Pairs, measured
from bench.validate.markdown import share, table
from bench.validate.mlperf import Offline
from bench.validate.queues import Queue
from bench.validate.sample import contradictions, flags, labels
from bench.validate.sample.silicon import Row
from meritorder import __version__
from meritorder.perf.corrections import Correction
from meritorder.perf.profile import Profile

_TARGET_TPOT, _TARGET_TTFT = 0.08, 0.15
_TARGET_SYSTEMS: Final = ("h100", "h200", "b200")
_LIBRARY: Final = f"aiconfigurator-core {version('aiconfigurator-core')}"

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


def page(
    silicon: Silicon,
    logs: Sequence[Profile],
    offline: Sequence[Offline],
    queues: Sequence[Queue],
    opening: Sequence[str],
) -> str:
    """Return the whole page; `opening` are its first sections."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    made = (
        f"Written by `make validate` on {today} with meritorder {__version__} and {_LIBRARY}, "
        f"Python {platform.python_version()}, {platform.machine()}; the figures are not edited by hand. "
        "To run it again: `make validate`.\n\n"
        "An error is |simulated / measured - 1|. Where something was fitted, the figures are of measurements that "
        "the fit has not seen.\n"
    )
    parts = [
        "# Validation\n",
        made,
        *opening,
        *_summary(silicon, logs, offline, queues),
        *_logs(logs),
        *_silicon(silicon),
        *_mlperf(offline),
        *_queues(queues),
    ]
    return "\n".join(parts)


def _met(value: float, target: float) -> str:
    return "yes" if value <= target else "**no**"


def _errors(rows: Sequence[Row], simulated: Pairs) -> Pairs:
    """Return errors of TTFT, TPOT, E2E and throughput, shape (rows, 4); in a closed loop the last is 1 / E2E."""
    expected = measured(rows)
    e2e = np.array([row.e2e_s(*times) for row, times in zip(rows, simulated, strict=True)])
    real = np.array([row.e2e_s(*times) for row, times in zip(rows, expected, strict=True)])
    parts = [*np.abs(simulated / expected - 1).T, np.abs(e2e / real - 1), np.abs(real / e2e - 1)]
    return np.stack(parts, axis=1)


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
            rows.append((of, f"{target:.0%}", share(errors[column]), _met(float(errors[column]), target)))
    known = [result for result in offline if result.simulated is not None]
    if known:
        error = float(np.median([abs((result.simulated or 0) / result.measured - 1) for result in known]))
        rows.append((f"MLPerf offline, {len(known)} results: median", "10%", share(error), _met(error, 0.10)))
    if queues:
        worst = max(abs(queue.simulated / queue.exact - 1) for queue in queues)
        rows.append((f"queues, {len(queues)} waits: worst", "2%", share(worst), _met(worst, 0.02)))
    return ["## Summary\n", table(("figure", "target", "measured", "met"), rows)]


def _counts(row: Row, *, everything: bool) -> bool:
    return row.hardware in _TARGET_SYSTEMS and (everything or not row.contradicted)


def _logs(logs: Sequence[Profile]) -> list[str]:
    rows = []
    for profile in logs:
        if (c := profile.calibration) is None:
            continue
        for name, e in (("TTFT", c.ttft), ("TPOT", c.tpot), ("E2E", c.e2e)):
            rows.append((c.log, name, f"{e.of_mean:+.1%}", f"{e.median:.1%}", f"{e.p90:.1%}"))
    return ["## Real vLLM logs\n", _LOGS, table(("configuration", "time", "error of the mean", "median", "p90"), rows)]


def _silicon(silicon: Silicon) -> list[str]:
    rows = f"{silicon.total:,} aggregated rows, {silicon.distinct:,} of them distinct measurements"
    return [
        "## Silicon\n",
        f"`silicon_sample.csv` in {_LIBRARY}: {rows}. {_describe_sample(silicon)}",
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
            cells += [f"{share(middle[0])} / {share(high[0])}", f"{share(middle[1])} / {share(high[1])}"]
            if simulated is silicon.model:
                cells += [f"{share(middle[2])} / {share(high[2])}", f"{share(middle[3])} / {share(high[3])}"]
        lines.append(cells)
    head = [
        *names,
        "rows",
        *("TTFT shipped", "TPOT shipped", "TTFT by engine", "TPOT by engine", "TTFT by model", "TPOT by model"),
        *("E2E by model", "throughput by model"),
    ]
    return "Median / p90 of the error on the judged half.\n\n" + table(head, lines)


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
    return table(("for", "rows", "operators", "KV", "prefill", *times), lines)


def _missing(silicon: Silicon) -> str:
    if silicon.missing.is_empty():
        return "Nothing.\n"
    columns = ("model_path", "system", "backend", "precision", "reason")
    counts = Counter(silicon.missing.select(columns).rows())
    lines = [(*key[:4], str(count), key[4].replace("|", "/")[:90]) for key, count in counts.most_common()]
    text = f"{silicon.missing.height} of {silicon.distinct:,} distinct rows cannot be simulated.\n\n"
    return text + table(("model", "system", "engine", "precision", "rows", "reason"), lines)


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
    return ["## MLPerf offline\n", _MLPERF, table(head, lines)]


def _queues(queues: Sequence[Queue]) -> list[str]:
    rows = [queue.cells for queue in queues]
    text = "Mean wait over mean service; more loads and servers in `tests/oracle/test_queueing.py`.\n"
    return ["## Queueing theory\n", text, table(("queue", "load", "simulated", "exact", "error"), rows)]
