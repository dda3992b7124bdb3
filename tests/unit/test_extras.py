"""What is installed for what people do: `meritorder[gateway]`, `meritorder[study]`, or neither."""

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from meritorder.errors import missing_extra

LIST_FILES = """import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*(module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "meritorder"))
"""
OTHERS = ("meritorder.study.ledger.answer", "meritorder.study.watch", "meritorder.study.prices.update")
REFUSE = "import sys\nsys.modules.update(dict.fromkeys({missing!r}))\nfrom meritorder.__main__ import main\nmain()"


def needed_packages(distribution: str, extra: str) -> set[str]:
    """Return what pip installs for a distribution, with what that needs."""
    found: set[str] = set()
    unread = [(distribution, extra)]
    while unread:
        name, chosen = unread.pop()
        for requirement in map(Requirement, requires(name) or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": chosen}):
                needed = canonicalize_name(requirement.name)
                if needed not in found:
                    found.add(needed)
                    unread += [(needed, ""), *((needed, extra) for extra in requirement.extras)]
    return found


def imported_packages(file: str) -> set[str]:
    """Return the packages of others that a file imports at its top; what a function imports may be optional."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    names = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names} - {"meritorder"} - sys.stdlib_module_names


@pytest.mark.parametrize(
    ("extra", "modules"),
    [
        ("", ("meritorder.cli", "meritorder.library")),
        (
            "gateway",
            ("meritorder.cli.gateway.serve", "meritorder.gateway.app.server", "meritorder.gateway.app.administration"),
        ),
        ("client", ("meritorder.client",)),
        ("study", ("meritorder.web.app", "meritorder.study.plan.answer", "meritorder.report.plan.html", *OTHERS)),
    ],
)
def test_extra_holds_what_is_imported(extra: str, modules: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", LIST_FILES, *modules]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.split()
    homes = packages_distributions()
    imported = {canonicalize_name(homes[package][0]) for package in set().union(*map(imported_packages, loaded))}
    assert imported - needed_packages("meritorder", extra) == set()


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("polars", "study"),
        ("sqlalchemy.orm", "gateway"),
        ("numpy", "all"),
        ("obstore", "all"),
        ("genai_prices", "study"),
        ("openai", "client"),
    ],
)
def test_missing_package_names_its_extra(module: str, extra: str) -> None:
    assert str(missing_extra(module)).endswith(f"is not installed; pip install 'meritorder[{extra}]'")


def test_other_missing_modules_are_bugs() -> None:
    assert missing_extra("meritorder.nowhere") is None


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [(["polars"], ["inspect", "x.csv"], "study"), (["sqlalchemy"], ["keys", "list", "--config", "g.toml"], "gateway")],
)
def test_command_without_its_packages_says_so(
    missing: list[str], arguments: list[str], extra: str, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text("arrived_at,input_tokens,output_tokens\n0,1,1\n", encoding="utf-8")
    (tmp_path / "g.toml").write_text("", encoding="utf-8")
    command = [sys.executable, "-c", REFUSE.format(missing=missing), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (
        2,
        f"meritorder: the package {missing[0]} is not installed; pip install 'meritorder[{extra}]'\n",
    )
