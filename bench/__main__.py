"""Run benchmarks: `python -m bench NAME… [--json FILE]`, or `all`."""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

import bench
from meritorder.report import files

Run = Callable[[], dict[str, Any]]


def found() -> dict[str, tuple[str, Run]]:
    """Return what there is to run: each module of this package with a `run()`, and what it says of itself."""
    modules = {
        info.name: importlib.import_module(f"bench.{info.name}")
        for info in pkgutil.iter_modules(bench.__path__)
        if not info.name.startswith("_")
    }
    return {
        name: ((module.__doc__ or "").splitlines()[0], module.run)
        for name, module in sorted(modules.items())
        if hasattr(module, "run")
    }


def main(arguments: list[str]) -> None:
    """Run the benchmarks named, print what they measured, and write it if asked to."""
    there = found()
    listed = "\n".join(f"  {name:<12} {says}" for name, (says, _) in there.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=bench.__doc__,
        epilog=f"benchmarks:\n{listed}\n  {'all':<12} every one of them",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", metavar="NAME", choices=[*there, "all"], help="what to run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    asked = parser.parse_args(arguments)
    files.check_target(asked.json)
    names = list(there) if "all" in asked.names else list(dict.fromkeys(asked.names))
    results = {}
    for name in names:
        print(f"{name}: {there[name][0]}", flush=True)
        results[name] = there[name][1]()
        for figure, value in _flat(results[name]):
            print(f"  {figure:<40} {_shown(value)}", flush=True)
    if asked.json:
        files.write_bytes(asked.json, msgspec.json.format(msgspec.json.encode(results)))


def _flat(result: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in result.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", value)]
    return rows


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:>16,.3f}" if abs(value) < 1000 else f"{value:>16,.0f}"
    return f"{value:>16,}" if isinstance(value, int) else f"{value!s:>16}"


if __name__ == "__main__":
    main(sys.argv[1:])
