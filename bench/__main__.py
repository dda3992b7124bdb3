"""Run benchmarks: `python -m bench NAME… [--json FILE]`, or `all`."""

import argparse
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

import bench
from meritorder.report import files

Run = Callable[..., dict[str, Any]]


def benchmarks() -> dict[str, tuple[str, Run]]:
    """Return the first docstring line and the `run()` of every module in this package that has one, by name."""
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
    """Run the named benchmarks, print their figures, and write them as JSON if requested."""
    available = benchmarks()
    listed = "\n".join(f"  {name:<12} {summary}" for name, (summary, _) in available.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=bench.__doc__,
        epilog=f"benchmarks:\n{listed}\n  {'all':<12} all of them",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", metavar="NAME", choices=[*available, "all"], help="benchmarks to run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--kills", type=int, metavar="N", help="processes that are killed, by those that kill some")
    parser.add_argument("--within", type=float, metavar="SECONDS", help="when to stop killing, by those that kill")
    options = parser.parse_args(arguments)
    limits = {"kills": options.kills, "within_s": options.within}
    files.check_target(options.json)
    names = list(available) if "all" in options.names else list(dict.fromkeys(options.names))
    results = {}
    for name in names:
        summary, run = available[name]
        print(f"{name}: {summary}", flush=True)
        takes = inspect.signature(run).parameters
        results[name] = run(**{limit: value for limit, value in limits.items() if value is not None and limit in takes})
        for figure, value in _flat(results[name]):
            print(f"  {figure:<40} {_formatted(value)}", flush=True)
    if options.json:
        files.write_bytes(options.json, msgspec.json.format(msgspec.json.encode(results)))


def _flat(result: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in result.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", value)]
    return rows


def _formatted(value: object) -> str:
    if isinstance(value, float):
        return f"{value:>16,.3f}" if abs(value) < 1000 else f"{value:>16,.0f}"
    return f"{value:>16,}" if isinstance(value, int) else f"{value!s:>16}"


if __name__ == "__main__":
    main(sys.argv[1:])
