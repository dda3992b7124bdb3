"""Compare, plan and simulate a small trace from Python: `python examples/library.py FOLDER` writes three reports."""

import sys
from pathlib import Path

import polars as pl

import meritorder


def main(folder: Path) -> None:
    """Write a comparison, a plan and its simulation on twice the traffic to a folder."""
    # Twelve hours of a chat service: two requests a minute at night, twenty by day.
    minutes = [minute for minute in range(12 * 60) for _ in range(20 if 240 <= minute < 600 else 2)]
    requests = pl.DataFrame({"arrived_s": [60.0 * m for m in minutes], "input_tokens": 900, "output_tokens": 150})
    trace = meritorder.read_trace(requests)

    options = meritorder.CompareOptions(model="llama-3.1-8b", defer=("40%@4h",))
    comparison = meritorder.compare(trace, options)
    print(comparison.sentence)
    comparison.write(folder / "compare.html")

    plan = meritorder.plan(trace, meritorder.PlanOptions(model="llama-3.1-8b", defer=("40%@4h",)))
    plan.write(folder / "plan.json")

    busier = meritorder.read_trace(requests, scale=2)
    result = meritorder.simulate(busier, plan)
    print(f"On twice the traffic the plan {'holds' if result.kept else 'does not hold'}.")
    result.write(folder / "simulation.html")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
