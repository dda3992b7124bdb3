"""Records of a package: its data classes, and in which respect each is not an immutable record."""

import dataclasses
import importlib.util
import pkgutil
from collections.abc import Iterator
from types import ModuleType


def lenient_records(package: ModuleType) -> dict[str, set[str]]:
    """Return by data class what it lacks of: frozen, with slots, by keyword only. Complete records are left out.

    Modules are executed afresh, so that coverage attributes their declarations to the test that asks.
    """
    lacking = {record.__name__: _lacks(record) for record in _data_classes(package)}
    return {name: lacks for name, lacks in lacking.items() if lacks}


def _lacks(record: type) -> set[str]:
    complete = {
        "frozen": record.__dataclass_params__.frozen,  # type: ignore[attr-defined]
        "slots": "__slots__" in vars(record),
        "kw_only": all(field.kw_only for field in dataclasses.fields(record)),
    }
    return {name for name, holds in complete.items() if not holds}


def _data_classes(package: ModuleType) -> Iterator[type]:
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        spec = importlib.util.find_spec(found.name)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for value in vars(module).values():
            if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == found.name:
                yield value
