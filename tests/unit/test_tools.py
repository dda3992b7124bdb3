"""What our own tools wrote is what they would write now."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
AGAIN = "run `make docs` and commit what it wrote"


def _tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["commands.md", "configuration.md", "openapi.json"])
def test_reference_pages_are_current(name: str) -> None:
    page = _tool("write_reference").PAGES[name]()
    assert (ROOT / "docs/reference" / name).read_text(encoding="utf-8") == page, AGAIN


@pytest.mark.parametrize("name", ["architecture.svg", "architecture-gateway.svg"])
def test_architecture_pictures_are_current(name: str) -> None:
    tool = _tool("draw_architecture")
    root, contract = tool.PICTURES[name]
    drawn = [(ROOT / "docs" / name).read_text(encoding="utf-8"), tool.draw(root, tool.layers_of(contract))]
    parts, arrows = r"<text [^>]*font-weight[^>]*>(\w+)<", r"<title>(\w+ to \w+):"
    assert {*re.findall(parts, drawn[0])} == {*re.findall(parts, drawn[1])}, AGAIN
    assert {*re.findall(arrows, drawn[0])} == {*re.findall(arrows, drawn[1])}, AGAIN


def test_differing_numbers_are_noticed() -> None:
    difference = _tool("compare_answers").Difference()
    difference.note(
        "", {"usd": 1.0, "sentence": "costs $1.00", "solve_s": 3.0}, {"usd": 1.5, "sentence": "costs $1.50"}
    )
    assert difference.fields == [".usd: 1.0 -> 1.5", ".sentence: 'costs $1.00' -> 'costs $1.50'"]


def test_reworded_text_is_no_difference() -> None:
    difference = _tool("compare_answers").Difference()
    difference.note("", {"sentence": "told 3 times"}, {"sentence": "stated 3 times"})
    assert not difference.fields
    assert len(difference.reworded) == 1


def test_excused_mutants_are_of_current_code() -> None:
    excuses = tomllib.loads((ROOT / "tests/mutants.toml").read_text(encoding="utf-8"))["excused"]
    stale = [
        excuse["before"]
        for excuse in excuses
        if "".join(excuse["before"].split())
        not in "".join((ROOT / "src/meritorder" / excuse["file"]).read_text(encoding="utf-8").split())
    ]
    assert stale == []
