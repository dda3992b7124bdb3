"""Reading a bill of ten million rows: seconds, peak memory, and a ratio to a plain scan and sum."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import polars as pl

from meritorder import bills
from meritorder.units import BYTES_PER_GIB

SAMPLE: Final = Path(__file__).resolve().parents[2] / "shared/data/bills/aws_cur2_llm_2026-10.csv"
ROWS: Final = 10_000_000
_KIB: Final = 1024
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


def make(sample: Path, path: Path, rows: int) -> int:
    """Write a CUR 2.0 Parquet file by repeating a sample, each time with other line items and resources.

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


def measure(path: Path) -> dict[str, Any]:
    """Read a bill, make its figures and its hourly shape; beside it, scan and sum one of its columns."""
    started = time.perf_counter()
    pl.scan_parquet(path).select(pl.col("line_item_unblended_cost").sum()).collect(engine="streaming")
    scanned = time.perf_counter()
    bill = bills.read(path)
    read = time.perf_counter()
    made = bills.figures(bills.inference(bill.groups))
    shape = bills.hourly(bill.charges, "kind", "instance_type", "purchase")
    done = time.perf_counter()
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
    return {
        "rows": bill.report.rows,
        "hours": shape["hour"].n_unique(),
        "billed_usd": str(made.billed_usd),
        "scan_s": scanned - started,
        "read_s": read - scanned,
        "shape_s": done - read,
        "audit_s": done - scanned,
        "ratio": (done - scanned) / (scanned - started),
        "peak_gib": peak_bytes / BYTES_PER_GIB,
    }


def run(rows: int = ROWS) -> dict[str, Any]:
    """Make a bill in a temporary folder; read it in a process of its own, whose memory is its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cur.parquet"
        make(SAMPLE, path, rows)
        done = subprocess.run([sys.executable, __file__, str(path)], check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))) if len(sys.argv) > 1 else json.dumps(run(), indent=2))
