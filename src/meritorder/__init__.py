"""Meritorder: serve every LLM request from the cheapest capacity that still meets its deadline.

    import meritorder

    trace = meritorder.read_trace("requests.csv")  # a path, a list, a glob, a Polars, pandas or Arrow data frame
    answer = meritorder.compare(trace, meritorder.CompareOptions(model="llama-3.1-70b", defer=("40%@4h",)))
    print(answer.sentence)
    answer.write("report.html")

Every answer has `to_json()`, `to_html()` and `write(path)`, prints as the command prints it, and shows itself in a
notebook. Names are imported when they are first used, so `import meritorder` is fast and loads no data-frame library.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meritorder.answers import Answer
    from meritorder.bills import Bill
    from meritorder.bills import read as read_bill
    from meritorder.catalog import Catalog
    from meritorder.catalog import load as load_catalog
    from meritorder.catalog.tokens import token_prices
    from meritorder.domain import Slo
    from meritorder.errors import (
        BillError,
        CatalogError,
        ConfigError,
        InfeasibleError,
        MeritorderError,
        MissingExtraError,
        PerformanceError,
        TraceError,
        WorkloadsError,
    )
    from meritorder.library import audit, calibrate, compare, estimate, plan, simulate, sweep
    from meritorder.records.comparison import Comparison
    from meritorder.records.estimation import Estimate
    from meritorder.records.findings import Audit
    from meritorder.records.planfile import Plan, read_plan
    from meritorder.sim.pools import Startup
    from meritorder.study.audit.context import AuditOptions
    from meritorder.study.fleet.options import CompareOptions
    from meritorder.study.schedule.options import PlanOptions
    from meritorder.traces import Trace
    from meritorder.traces.could_wait import find_candidates as could_wait
    from meritorder.traces.could_wait import propose_workloads
    from meritorder.traces.generated.synthetic import Traffic
    from meritorder.traces.read import read_trace

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Audit",
    "AuditOptions",
    "Bill",
    "BillError",
    "Catalog",
    "CatalogError",
    "CompareOptions",
    "Comparison",
    "ConfigError",
    "Estimate",
    "InfeasibleError",
    "MeritorderError",
    "MissingExtraError",
    "PerformanceError",
    "Plan",
    "PlanOptions",
    "Slo",
    "Startup",
    "Trace",
    "TraceError",
    "Traffic",
    "WorkloadsError",
    "__version__",
    "audit",
    "calibrate",
    "compare",
    "could_wait",
    "estimate",
    "load_catalog",
    "plan",
    "propose_workloads",
    "read_bill",
    "read_plan",
    "read_trace",
    "simulate",
    "sweep",
    "token_prices",
]

if not TYPE_CHECKING:  # a checker reads the imports above, and so reports a name that does not exist
    _HOMES = {
        "Answer": "meritorder.answers",
        "Audit": "meritorder.records.findings",
        "AuditOptions": "meritorder.study.audit.context",
        "Bill": "meritorder.bills",
        "BillError": "meritorder.errors",
        "Catalog": "meritorder.catalog",
        "CatalogError": "meritorder.errors",
        "CompareOptions": "meritorder.study.fleet.options",
        "Comparison": "meritorder.records.comparison",
        "ConfigError": "meritorder.errors",
        "Estimate": "meritorder.records.estimation",
        "InfeasibleError": "meritorder.errors",
        "MeritorderError": "meritorder.errors",
        "MissingExtraError": "meritorder.errors",
        "PerformanceError": "meritorder.errors",
        "Plan": "meritorder.records.planfile",
        "PlanOptions": "meritorder.study.schedule.options",
        "Slo": "meritorder.domain",
        "Startup": "meritorder.sim.pools",
        "Trace": "meritorder.traces",
        "TraceError": "meritorder.errors",
        "Traffic": "meritorder.traces.generated.synthetic",
        "WorkloadsError": "meritorder.errors",
        "audit": "meritorder.library",
        "calibrate": "meritorder.library",
        "compare": "meritorder.library",
        "could_wait": "meritorder.traces.could_wait:find_candidates",
        "estimate": "meritorder.library",
        "load_catalog": "meritorder.catalog:load",
        "plan": "meritorder.library",
        "propose_workloads": "meritorder.traces.could_wait",
        "read_bill": "meritorder.bills:read",
        "read_plan": "meritorder.records.planfile",
        "read_trace": "meritorder.traces.read",
        "simulate": "meritorder.library",
        "sweep": "meritorder.library",
        "token_prices": "meritorder.catalog.tokens",
    }

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, _, original = _HOMES[name].partition(":")
        try:
            value = getattr(importlib.import_module(module), original or name)
        except ModuleNotFoundError as error:
            from meritorder.errors import missing_extra  # noqa: PLC0415 - this package imports nothing before it must

            raise missing_extra(error.name or "") or error from error
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
