"""Meritorder: serve every LLM request from the cheapest capacity that still meets its deadline.

    import meritorder

    trace = meritorder.read_trace("requests.csv")
    answer = meritorder.compare(trace, meritorder.Options(model="llama-3.1-70b", defer=("40%@4h",)))
    print(answer.sentence)

Names are loaded when they are first used, so that `import meritorder` is quick and needs no data-frame library.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meritorder.bills import Bill
    from meritorder.bills import read as read_bill
    from meritorder.catalog import Catalog
    from meritorder.catalog import load as load_catalog
    from meritorder.catalog.tokens import token_prices
    from meritorder.comparison import Comparison
    from meritorder.domain import Slo
    from meritorder.errors import (
        BillError,
        CatalogError,
        InfeasibleError,
        MeritorderError,
        PerformanceError,
        TraceError,
        WorkloadsError,
    )
    from meritorder.findings import Audit
    from meritorder.planfile import Plan, read_plan, write_plan
    from meritorder.report.compare.html import render as to_html
    from meritorder.report.compare.record import encode as to_json
    from meritorder.study.audit import Options as AuditOptions
    from meritorder.study.audit import audit
    from meritorder.study.compare.compare import Options, compare
    from meritorder.study.plan.answer import plan as make_plan
    from meritorder.study.plan.follow import follow as simulate_plan
    from meritorder.study.plan.options import PlanOptions
    from meritorder.traces import Trace
    from meritorder.traces import read as read_trace
    from meritorder.traces.could_wait import find_candidates as could_wait
    from meritorder.traces.could_wait import propose_workloads

__version__ = "0.1.0"

__all__ = [
    "Audit",
    "AuditOptions",
    "Bill",
    "BillError",
    "Catalog",
    "CatalogError",
    "Comparison",
    "InfeasibleError",
    "MeritorderError",
    "Options",
    "PerformanceError",
    "Plan",
    "PlanOptions",
    "Slo",
    "Trace",
    "TraceError",
    "WorkloadsError",
    "__version__",
    "audit",
    "compare",
    "could_wait",
    "load_catalog",
    "make_plan",
    "propose_workloads",
    "read_bill",
    "read_plan",
    "read_trace",
    "simulate_plan",
    "to_html",
    "to_json",
    "token_prices",
    "write_plan",
]

if not TYPE_CHECKING:  # a checker reads the imports above, and so sees a name that is not there
    _HOMES = {
        "Audit": "meritorder.findings",
        "AuditOptions": "meritorder.study.audit:Options",
        "Bill": "meritorder.bills",
        "BillError": "meritorder.errors",
        "Catalog": "meritorder.catalog",
        "CatalogError": "meritorder.errors",
        "Comparison": "meritorder.comparison",
        "InfeasibleError": "meritorder.errors",
        "MeritorderError": "meritorder.errors",
        "Options": "meritorder.study.compare.compare",
        "PerformanceError": "meritorder.errors",
        "Plan": "meritorder.planfile",
        "PlanOptions": "meritorder.study.plan.options",
        "Slo": "meritorder.domain",
        "Trace": "meritorder.traces",
        "TraceError": "meritorder.errors",
        "WorkloadsError": "meritorder.errors",
        "audit": "meritorder.study.audit",
        "compare": "meritorder.study.compare.compare",
        "could_wait": "meritorder.traces.could_wait:find_candidates",
        "load_catalog": "meritorder.catalog:load",
        "make_plan": "meritorder.study.plan.answer:plan",
        "propose_workloads": "meritorder.traces.could_wait",
        "read_bill": "meritorder.bills:read",
        "read_plan": "meritorder.planfile",
        "read_trace": "meritorder.traces:read",
        "simulate_plan": "meritorder.study.plan.follow:follow",
        "to_html": "meritorder.report.compare.html:render",
        "to_json": "meritorder.report.compare.record:encode",
        "token_prices": "meritorder.catalog.tokens",
        "write_plan": "meritorder.planfile",
    }

    def __getattr__(name: str) -> object:
        """Load a public name from its home when it is first used."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, _, original = _HOMES[name].partition(":")
        value = getattr(importlib.import_module(module), original or name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
