"""What known metrics measure, as declared in `gpu_metrics.toml`."""

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def _declared() -> list[dict[str, Any]]:
    text = files("meritorder.bills.metrics").joinpath("gpu_metrics.toml").read_text(encoding="utf-8")
    table: list[dict[str, Any]] = tomllib.loads(text)["metric"]
    return table


def declaration(name: str) -> dict[str, Any]:
    """Return what is declared of a metric, empty if nothing is."""
    return next((metric for metric in _declared() if re.fullmatch(metric["pattern"], name.strip())), {})


def preference(name: str) -> int:
    """Return the place of a metric in the order in which they are preferred: as declared, then those not declared."""
    declared = declaration(name)
    if not declared.get("work", True):
        return len(_declared()) + 1
    return _declared().index(declared) if declared else len(_declared())
