"""Request traces: readers for each format, all to the REQUESTS schema, and what a trace shows.

    read         files, globs, standard input or data frames to a Trace
    trace        the requests, their window and their rate
    formats      what each tool's columns mean, and which of its rows are no request
    verdicts     every row: a request, bad, or set aside by kind
    buckets      sums of several requests, spread over their interval
    timed        logs of measured requests, for a calibration
    workloads    the workload, lane and deadline of each request: a TOML file, `--defer`
    could_wait   requests that could probably wait, with evidence
    statistics   rates, burstiness, lengths and shares of a trace
    sample       a seeded week of a service

A format is a row of a declared table in `formats`; files and data frames are opened in `sources.py`, columns are typed
in `intake.py`.
"""

from meritorder.traces.trace import BadRow, ReadReport, Trace

__all__ = ["BadRow", "ReadReport", "Trace"]
