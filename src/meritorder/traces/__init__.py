"""Request traces: readers for each format, all to the REQUESTS schema, and what a trace shows.

    read         files, globs, standard input or data frames to a Trace
    trace        the requests, their window and their rate
    workloads    the workload, lane and deadline of each request: a TOML file, `--defer`
    could_wait   requests that could probably wait, with evidence
    statistics   rates, burstiness, lengths and shares of a trace
    sample       a seeded week of a service

A format is a module in `formats` with `recognizes(source)` and `read(source) -> RawTable`, listed in its `FORMATS`;
files and data frames are opened in `sources.py`, rows are checked and typed in `intake.py`.
"""

from meritorder.traces.trace import BadRow, ReadReport, Trace

__all__ = ["BadRow", "ReadReport", "Trace"]
