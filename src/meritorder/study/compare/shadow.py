"""shadow: what waiting would have saved on engines in use, from their counters or from a log of requests."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import polars as pl

from meritorder.errors import ConfigError, MeritorderError
from meritorder.records.comparison import ShadowPeriod, ShadowReport
from meritorder.study.compare.compare import compare
from meritorder.study.fleet.options import CompareOptions, Progress
from meritorder.study.watch import Counted, Reading, parse_reading, read_metrics
from meritorder.traces.read import read_trace
from meritorder.traces.trace import Trace, cut
from meritorder.units import format_duration, format_share

POLL_S: Final = 10.0
ASSUMED_PROMPT_TOKENS: Final = 1000
"""Length of a prompt where an engine counts tokens but no requests."""
_LOG_DIFFERENCE: Final = 0.1  # of the tokens; more than what runs as a period ends
_FIELDS: Final = {"arrival": "start", "ended": "end", "input": "input", "output": "output", "calls": "requests"}
_COUNTERS_ONLY: Final = (
    "counters do not show how the lengths of requests vary: one replica more or less can change the saving a lot; "
    "confirm it with --log"
)
_ONE_REQUEST: Final = pl.DataFrame({"arrival": [0.0], "input": [ASSUMED_PROMPT_TOKENS], "output": [100]})

ReadTrace = Callable[[float, float], Trace | None]
"""Returns the requests that arrived between two times; None without any."""


@dataclass(slots=True)
class _Engine:
    """An engine's counters, as rows that each sum up the requests of an interval."""

    url: str
    read: Callable[[str], bytes]
    clock: Callable[[], float]
    last: Reading
    unreachable_s: float = 0.0
    was_unreachable: bool = False
    restarts: int = 0
    open: Counted = field(default_factory=Counted)
    rows: list[dict[str, float]] = field(default_factory=list)

    def poll(self) -> None:
        """Read the counters; they wait in an open row until a request has both a prompt and an answer."""
        try:
            reading = parse_reading(self.read(self.url), at_s=self.clock(), where=self.url).after(self.last)
        except ConfigError:
            self.was_unreachable = True
            return
        if self.was_unreachable:
            self.unreachable_s += reading.at_s - self.last.at_s
        self.open.add(self.last, reading, was_unreachable=self.was_unreachable)
        self.last, self.was_unreachable = reading, False
        tokens = {
            "input": sum(self.open.input_tokens.values()),
            "output": sum(self.open.output_tokens.values()),
        }
        requests = self.open.requests
        if reading.requests is None:
            requests = max(1, round(tokens["input"] / ASSUMED_PROMPT_TOKENS))
        if requests and all(tokens.values()):
            start_s = reading.at_s - self.open.measured_s
            self.rows.append({"start": start_s, "end": reading.at_s, "requests": requests, **tokens})
        elif self.open.requests or any(tokens.values()):
            return
        self.restarts += self.open.restarts
        self.open = Counted()

    @property
    def gone_s(self) -> float:
        """How long it has been unreachable by now."""
        return self.clock() - self.last.at_s if self.was_unreachable else 0.0


def shadow(
    urls: Sequence[str],
    logs: Sequence[str],
    options: CompareOptions,
    *,
    for_s: float,
    every_s: float,
    read: Callable[[str], bytes] = read_metrics,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    on_period: Callable[[ShadowPeriod], None] = lambda _: None,
    progress: Progress = lambda _: None,
) -> ShadowReport:
    """Return what waiting would have saved in each period, and in the whole time; Ctrl-C ends it early.

    Args:
        urls: URLs of the engines' metrics.
        logs: Files of requests with dates; if there are any, the counters only check them.
        options: Model, hardware, and what can wait.
        for_s: How long to watch.
        every_s: Length of a period.
        read: Returns the metrics of a URL.
        clock: Returns seconds since the epoch.
        sleep: Waits some seconds.
        on_period: Receives each period as it ends.
        progress: Receives each step.

    Raises:
        ConfigError: Nothing is watched, or a source cannot be read at the start.
    """
    if not (urls or logs):
        raise ConfigError("nothing to watch", where="--metrics/--log", fix="name the metrics of an engine, or a log")
    if not (logs or options.model):
        raise ConfigError("counters do not name the model", where="--model", fix="name the model that they serve")
    # Mistakes are refused now, not after a period.
    for url in urls:
        parse_reading(read(url), at_s=clock(), where=url)
    if options.model:
        compare(read_trace([_ONE_REQUEST]), replace(options, workloads=None), progress)
    engines = [
        _Engine(url, read, clock, parse_reading(read(url), at_s=clock(), where=url)) for url in dict.fromkeys(urls)
    ]
    requests: ReadTrace = partial(_logged, logs) if logs else partial(_counted, engines)
    start_s = clock()
    requests(start_s, start_s)
    ends_s, period_s, periods = start_s + for_s, start_s, list[ShadowPeriod]()
    try:
        while period_s < ends_s:
            until_s = min(period_s + every_s, ends_s)
            while (left_s := until_s - clock()) > 0:
                progress(f"{format_duration(ends_s - clock())} left; Ctrl-C ends it")
                sleep(min(POLL_S, left_s))
                _poll(engines)
            _poll(engines)  # also where the last period's answer took longer than a period
            periods.append(_period(requests, period_s, until_s, options, progress))
            on_period(periods[-1])
            period_s = until_s
    except KeyboardInterrupt:
        ends_s = clock()
        _poll(engines)
    whole = _period(requests, start_s, ends_s, options, progress)
    return ShadowReport(
        periods=periods,
        whole=whole,
        unreachable_s=sum(engine.unreachable_s + engine.gone_s for engine in engines),
        warnings=_warnings(engines, whole, has_log=bool(logs)),
    )


def _poll(engines: Sequence[_Engine]) -> None:
    for engine in engines:
        engine.poll()


def _logged(logs: Sequence[str], start_s: float, end_s: float) -> Trace | None:
    return _between(read_trace(logs), start_s, end_s, where=", ".join(logs))


def _counted(engines: Sequence[_Engine], start_s: float, end_s: float) -> Trace | None:
    rows = [row for engine in engines for row in engine.rows if row["start"] < end_s and row["end"] > start_s]
    if not rows:
        return None
    trace = read_trace([pl.DataFrame(rows)], columns=_FIELDS, aggregate=True)
    return _between(trace, start_s, end_s, where="--metrics")


def _between(trace: Trace, start_s: float, end_s: float, *, where: str) -> Trace | None:
    if trace.epoch_s is None:
        raise ConfigError("its times are not dates", where=where, fix="give a log whose requests have dates")
    arrived = trace.requests["arrived_s"] + trace.epoch_s
    if not arrived.is_between(start_s, end_s, closed="left").any():
        return None
    return cut(trace, start_s - trace.epoch_s, end_s - trace.epoch_s)


def _period(
    requests: ReadTrace, start_s: float, end_s: float, options: CompareOptions, progress: Progress
) -> ShadowPeriod:
    """Return what a period's requests would have cost; one that has no answer says why, and does not end the rest."""
    nothing = ShadowPeriod(start_epoch_s=start_s, end_epoch_s=end_s, no_saving_because="no request arrived")
    try:
        trace = requests(start_s, end_s)
        if trace is None:
            return nothing
        answer = compare(trace, options, progress)
    except MeritorderError as error:
        return ShadowPeriod(start_epoch_s=start_s, end_epoch_s=end_s, no_saving_because=str(error))
    costs_usd = {arrangement.name: arrangement.total_usd for arrangement in answer.arrangements}
    return ShadowPeriod(
        start_epoch_s=start_s,
        end_epoch_s=end_s,
        requests=answer.trace.requests,
        input_tokens=answer.trace.input_tokens,
        output_tokens=answer.trace.output_tokens,
        realtime_usd=costs_usd[answer.baseline],
        saving_usd=answer.saving_usd,
        saving_interval=answer.saving_interval,
        credited=answer.credited,
        assumptions=answer.assumptions,
    )


def _warnings(engines: Sequence[_Engine], whole: ShadowPeriod, *, has_log: bool) -> list[str]:
    warnings = [f"{engine.url} started again {engine.restarts} times" for engine in engines if engine.restarts]
    warnings += [f"{engine.url} could not be read at the end" for engine in engines if engine.was_unreachable]
    if not has_log:
        warnings.append(_COUNTERS_ONLY)
    if not has_log and any(engine.last.requests is None for engine in engines):
        warnings.append(f"an engine counts no requests: prompts of {ASSUMED_PROMPT_TOKENS} tokens are assumed")
    counted = sum(row["input"] + row["output"] for engine in engines for row in engine.rows)
    share = (whole.input_tokens + whole.output_tokens) / counted if counted else 1.0
    if has_log and abs(share - 1) > _LOG_DIFFERENCE:
        warnings.append(f"the log has {format_share(share)} of the tokens that the engines counted")
    return warnings
