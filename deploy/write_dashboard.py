"""Writes the Grafana dashboard of the gateway: python deploy/write_dashboard.py deploy/chart/files/dashboard.json."""

import json
import math
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

_WIDTH: Final = 8  # of 24 columns
_HEIGHT: Final = 8
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}


class Chart(NamedTuple):
    """A chart: its title, its unit as Grafana names it, and the expressions that it draws, by the legend of each."""

    title: str
    unit: str
    lines: dict[str, str]


_FAILED: Final = 'sum by (lane) (rate(meritorder_requests_total{status!~"2.."}[5m]))'
_ENDED: Final = "sum by (lane) (rate(meritorder_requests_total[5m]))"

# Each gateway counts its own requests, so they are summed. All read the same store and rent the same machines: of the
# queue, budgets and prices, one reading is shown.
_ROWS: Final = {
    "Promises": (
        Chart(
            "Time to first token, 99th percentile",
            "s",
            {
                "{{model}}": "histogram_quantile(0.99, sum by (model, le) (rate(meritorder_ttft_seconds_bucket[5m])))",
                "SLO": "max(meritorder_slo_ttft_seconds)",
            },
        ),
        Chart(
            "Queued requests due within the margin",
            "short",
            {"{{model}}": "max by (model) (meritorder_queued_at_risk)"},
        ),
        Chart("Share of requests that failed", "percentunit", {"{{lane}}": f"{_FAILED} / {_ENDED}"}),
    ),
    "Money": (
        Chart(
            "Paid an hour",
            "currencyUSD",
            {"{{venue}}, {{basis}}": "max by (venue, basis) (llm_total_hourly_cost)"},
        ),
        Chart(
            "Cost of a million tokens",
            "currencyUSD",
            {"{{model}} at {{venue}}": "max by (model, venue) (sum without (use) (llm_cost_per_million_tokens))"},
        ),
        Chart(
            "Share of budgets spent",
            "percentunit",
            {"{{budget}}": "max by (budget) (meritorder_budget_spent_usd) / max by (budget) (meritorder_budget_usd)"},
        ),
        Chart(
            "Paid in the last hour, by use",
            "currencyUSD",
            {"{{use}}": "sum by (use) (max by (venue, use) (increase(meritorder_paid_usd_total[1h])))"},
        ),
        Chart(
            "Cost of requests in the last hour",
            "currencyUSD",
            {"{{lane}}": "sum by (lane) (increase(meritorder_cost_usd_total[1h]))"},
        ),
        Chart(
            "Tokens a second",
            "short",
            {"{{lane}}, {{kind}}": "sum by (lane, kind) (rate(meritorder_tokens_total[5m]))"},
        ),
    ),
    "Work": (
        Chart(
            "Requests a second",
            "reqps",
            {"{{lane}} at {{venue}}": "sum by (lane, venue) (rate(meritorder_requests_total[5m]))"},
        ),
        Chart(
            "Requests in flight",
            "short",
            {
                "{{venue}}, real time": "sum by (venue) (meritorder_realtime)",
                "{{venue}}, deferrable": "sum by (venue) (meritorder_deferrable)",
                "{{venue}}, deferrable at most": "sum by (venue) (meritorder_allowed)",
            },
        ),
        Chart("Queued requests", "short", {"{{model}}": "max by (model) (meritorder_queued)"}),
        Chart(
            "Time at the venue, median",
            "s",
            {
                "{{lane}} at {{venue}}": "histogram_quantile(0.5, "
                "sum by (lane, venue, le) (rate(meritorder_request_seconds_bucket[5m])))"
            },
        ),
        Chart("Venues whose load cannot be read", "short", {"{{venue}}": "max by (venue) (meritorder_alert)"}),
    ),
    "Plan": (
        Chart(
            "Replicas",
            "short",
            {
                "{{pool}}, {{payment}}": "max by (pool, payment) (meritorder_plan_replicas)",
                "{{pool}}, {{payment}}, next slot": "max by (pool, payment) (meritorder_plan_replicas_next)",
            },
        ),
        Chart(
            "Machines that each rule asks for",
            "short",
            {"{{pool}}, {{rule}}": "max by (pool, rule) (meritorder_policy_machines)"},
        ),
        Chart(
            "Reloads",
            "short",
            {
                "{{outcome}}": "sum by (outcome) (meritorder_plan_reads)",
                "rejected now": "max(meritorder_plan_fault)",
            },
        ),
        Chart("Age of the oldest price", "d", {"days": "max(meritorder_plan_price_age_days)"}),
    ),
    "Health": (
        Chart(
            "Store",
            "short",
            {"database": "min(meritorder_store_up)", "blob store": "min(meritorder_blobs_up)"},
        ),
        Chart("Delay of the ledger", "s", {"{{instance}}": "max by (instance) (meritorder_ledger_delay_seconds)"}),
        Chart(
            "Failures of tasks, and ledger entries not written",
            "short",
            {
                "{{task}}": "sum by (task) (meritorder_task_failures)",
                "lost": "sum(meritorder_ledger_dropped)",
                "set aside": "sum(meritorder_ledger_set_aside)",
            },
        ),
    ),
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row, charts in _ROWS.items():
        place = {"h": 1, "w": 24, "x": 0, "y": top}
        panels.append({"type": "row", "id": len(panels) + 1, "title": row, "collapsed": False, "gridPos": place})
        top += 1
        for at, chart in enumerate(charts):
            place = {"h": _HEIGHT, "w": _WIDTH, "x": at % 3 * _WIDTH, "y": top + at // 3 * _HEIGHT}
            panels.append(_panel(len(panels) + 1, chart, place))
        top += math.ceil(len(charts) / 3) * _HEIGHT
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}}
    return {
        "uid": "meritorder",
        "title": "Meritorder",
        "tags": ["llm"],
        "schemaVersion": 39,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    }


def _panel(number: int, chart: Chart, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
        for at, (legend, expression) in enumerate(chart.lines.items())
    ]
    return {
        "type": "timeseries",
        "id": number,
        "title": chart.title,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": chart.unit, "min": 0, "custom": {"fillOpacity": 10}}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
