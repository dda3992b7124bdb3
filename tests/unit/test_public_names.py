import ast
import subprocess
import sys
from pathlib import Path

import pytest

import meritorder

HEAVY = ("polars", "numpy", "numba", "altair", "typer", "rich", "genai_prices", "msgspec")


def _imported_for_checkers() -> set[str]:
    """Names that a type checker sees in `meritorder`: those of the TYPE_CHECKING block."""
    tree = ast.parse(Path(meritorder.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.asname or alias.name
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_every_public_name_loads() -> None:
    for name in meritorder.__all__:
        assert getattr(meritorder, name) is not None, name
    assert set(meritorder.__all__) <= set(dir(meritorder))


def test_type_checkers_see_the_same_names() -> None:
    assert _imported_for_checkers() | {"__version__"} == set(meritorder.__all__)
    assert set(meritorder._HOMES) | {"__version__"} == set(meritorder.__all__)


def test_public_name_is_the_original_object() -> None:
    from meritorder import library
    from meritorder.traces import read

    assert meritorder.read_trace is read.read_trace
    assert meritorder.compare is library.compare


def test_all_errors_share_one_root() -> None:
    errors = [getattr(meritorder, name) for name in meritorder.__all__ if name.endswith("Error")]
    assert len(errors) > 1
    assert all(issubclass(error, meritorder.MeritorderError) for error in errors)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'comprae'"):
        meritorder.comprae  # noqa: B018


def test_import_is_light() -> None:
    program = f"import sys, meritorder; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_single_path_equals_list_of_one(tmp_path: Path) -> None:
    file = tmp_path / "requests.csv"
    file.write_text("arrival,input,output\n0,10,5\n1,20,5\n", encoding="utf-8")
    for source in (file, str(file), [file]):
        assert meritorder.read_trace(source).requests["input_tokens"].to_list() == [10, 20]
