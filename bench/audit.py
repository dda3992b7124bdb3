"""Audit of bills of ten thousand and ten million rows: seconds, peak memory, and the ratio to a plain scan and sum."""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import polars as pl

from bench._process import DATA, measure
from meritorder.units import BYTES_PER_GIB

SAMPLE: Final = DATA / "bills" / "aws_cur2_llm_2026-10.csv"
ROWS: Final = 10_000_000
_COSTS: Final = (
    *("line_item_usage_amount", "line_item_unblended_cost", "pricing_public_on_demand_cost"),
    *("reservation_effective_cost", "reservation_unused_recurring_fee", "savings_plan_savings_plan_rate"),
    *(
        "reservation_unused_amortized_upfront_fee_for_billing_period",
        "savings_plan_savings_plan_effective_cost",
    ),
    *("savings_plan_total_commitment_to_date", "savings_plan_used_commitment"),
)
_TIMES: Final = (
    *("bill_billing_period_start_date", "bill_billing_period_end_date"),
    *("line_item_usage_start_date", "line_item_usage_end_date"),
)


def write_bill(sample: Path, path: Path, rows: int) -> int:
    """Write a CUR 2.0 Parquet file of copies of a sample, each with its own line items and resources.

    Types are those of AWS's own Parquet: doubles, timestamps and a map of tags.

    Returns:
        Its number of rows.
    """
    month = pl.read_csv(sample, infer_schema=False)
    pairs = pl.List(pl.Struct({"key": pl.String, "value": pl.String}))
    tags = pl.col("resource_tags").map_elements(
        lambda text: [{"key": key, "value": value} for key, value in json.loads(text).items()],
        return_dtype=pairs,
    )
    month = month.with_columns(
        pl.col(_COSTS).cast(pl.Float64),
        pl.col(_TIMES).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="ms"),
        resource_tags=tags,
    ).with_row_index("line")
    copies = -(-rows // month.height)
    (
        pl.LazyFrame({"copy": range(copies)})
        .join(month.lazy(), how="cross")
        .with_columns(
            identity_line_item_id=pl.format("{}-{}", "copy", "line"),
            identity_time_interval=pl.format("{}/{}", "line_item_usage_start_date", "line_item_usage_end_date"),
            line_item_resource_id=pl.format("{}-{}", "line_item_resource_id", "copy"),
        )
        .drop("copy", "line")
        .sink_parquet(path, row_group_size=250_000)
    )
    return copies * month.height


def plain_sum(path: Path) -> float:
    """Return the time of a plain sum of the cost by usage type, resource and hour."""
    started = time.perf_counter()
    keys = ("line_item_usage_type", "line_item_resource_id", "line_item_usage_start_date")
    cost = pl.col("line_item_unblended_cost").sum()
    pl.scan_parquet(path).group_by(keys).agg(cost).collect(engine="streaming")
    return time.perf_counter() - started


def audit(path: Path, folder: Path) -> dict[str, Any]:
    """Run the whole command in its own process, imports and reports included."""
    answer = folder / "audit.json"
    page = folder / "audit.html"
    done = measure(["-m", "meritorder", "audit", str(path), "--json", str(answer), "--html", str(page)])
    found = json.loads(answer.read_text())
    return {
        "rows": found["bill"]["rows"],
        "findings": len(found["findings"]),
        "inference_usd": found["inference_usd"],
        "overpaid_usd": found["overpaid_usd"],
        "seconds": done.seconds,
        "cpu_seconds": done.cpu_seconds,
        "peak_gib": done.peak_rss_bytes / BYTES_PER_GIB,
    }


def run(rows: int = ROWS) -> dict[str, Any]:
    """Audit the sample, and a large bill of copies of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "cur.parquet"
        # A process inherits the peak memory of its parent, so expensive steps run in their own processes.
        measure(["-m", "bench.audit", "make", str(path), str(rows)])
        large = audit(path, folder)
        plain_s = float(measure(["-m", "bench.audit", "sum", str(path)]).output)
        return {
            "sample": audit(SAMPLE, folder),
            "large": large | {"plain_sum_s": plain_s, "ratio": large["seconds"] / plain_s},
        }


if __name__ == "__main__":
    if sys.argv[1] == "make":
        write_bill(SAMPLE, Path(sys.argv[2]), int(sys.argv[3]))
    else:
        print(plain_sum(Path(sys.argv[2])))
