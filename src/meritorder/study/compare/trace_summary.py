"""What a comparison says about the trace itself."""

from meritorder.records.comparison import TraceSummary
from meritorder.traces import Trace
from meritorder.traces.statistics import describe
from meritorder.traces.trace import ReadReport
from meritorder.units import format_count


def reading_warnings(report: ReadReport) -> list[str]:
    """Return what is wrong with the rows of a trace."""
    warnings = []
    if report.bad_rows:
        shown = "; ".join(str(row) for row in report.first_bad[:3])
        verb = "is" if report.bad_rows == 1 else "are"
        warnings.append(
            f"{report.bad_rows:,} of {format_count(report.rows, 'row')} {verb} invalid and skipped: {shown}"
        )
    warnings += report.aside_lines
    if report.estimated_tokens:
        warnings.append("token counts were estimated from text")
    return warnings


def summarize(trace: Trace) -> TraceSummary:
    """Return the trace as read."""
    statistics, report = describe(trace), trace.report
    requests = trace.requests
    return TraceSummary(
        files=list(report.files),
        format=report.format,
        requests=requests.height,
        span_s=trace.span_s,
        mean_rate_per_s=statistics.mean_rate_per_s or 0.0,
        peak_to_mean_hour=statistics.peak_to_mean_hour,
        input_tokens=int(requests["input_tokens"].sum()),
        cached_tokens=int(requests["cached_tokens"].sum()),
        output_tokens=int(requests["output_tokens"].sum()),
        bad_rows=report.bad_rows,
        failed_rows=report.failed_rows,
        estimated_tokens=report.estimated_tokens,
        start_epoch_s=trace.epoch_s,
    )
