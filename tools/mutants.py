"""Mutate the code that decides about money and policy, and count the mutants that the tests notice.

    python tools/mutants.py [--sample 600] [--seed 0] [--only bills/] [--tests tests/unit/bills]

Cosmic Ray finds the possible mutations; a seeded sample of them is tried, each in a copy of the tree, against the tests
that execute the mutated line (measured once with coverage contexts), the fastest tests first. Left out are mutations of
annotations and of stars that unpack or mark keywords, which mostly fail at import and would count as noticed without
any test, and of the options of a dataclass (`frozen`, `slots`, `kw_only`), which the type check guards. A
survivor that changes nothing a user could observe may be excused in `tests/mutants.toml`, with its reason. The exit
status is 1 if fewer than 90 % are noticed or more than 3 % excused.
"""

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import unified_diff
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import coverage
from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import use_db

ROOT: Final = Path(__file__).parents[1]
WORK: Final = ROOT / ".mutants"
PACKAGE: Final = Path("src/meritorder")
TARGETS: Final = (
    "policy/*.py",
    "bills/*.py",
    "study/audit/*.py",
    "planner/**/bounds.py",
    "planner/**/commitments.py",
    "gateway/state/auth.py",
    "gateway/state/ledger_writer.py",
    "gateway/venues/venues.py",
    "gateway/workers/dispatch.py",
)
"""What is mutated: policy, money, budgets, cost and dispatch."""

TESTS: Final = (
    *(f"tests/unit/{part}" for part in ("policy", "bills", "study/audit", "planner", "gateway")),
    *(
        "tests/golden",
        "tests/property/test_bills.py",
        "tests/property/test_audit.py",
        "tests/oracle/test_plan_commitments.py",
    ),
)
"""Tests that can notice, without processes of their own."""

_CHANGES: Final = {
    "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Div", "Mod_Mul", "Pow_Mul", "BitAnd_BitOr",
    "BitOr_BitAnd", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt", "Eq_NotEq",
    "NotEq_Eq", "Is_IsNot", "IsNot_Is", "USub_UAdd", "Not_Nothing",
}  # fmt: skip
"""Replacements of operators that could be mistakes of a programmer; others fail on their types."""

MIN_NOTICED_SHARE: Final = 0.90
MAX_EXCUSED_SHARE: Final = 0.03
_TEST_BUDGET_S: Final = 20.0  # tests of one mutant, by their own times
_TIMEOUT_S: Final = 60.0
_WORKERS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One mutation: an operator's nth occurrence in a file, and the lines that it touches."""

    path: Path
    operator: str
    occurrence: int
    first_line: int
    last_line: int

    def mutated(self, source: str) -> str | None:
        """Return the source with the mutation applied, None where there is nothing to mutate."""
        return mutate_code(source, get_operator(self.operator)(), self.occurrence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of a mutant: noticed, survived or excused, with the lines that it changed."""

    mutant: Mutant
    noticed: bool
    why: str
    diff: str
    excuse: str = ""


class Coverage:
    """Which tests execute which line, and how long each test takes."""

    def __init__(self, database: Path, durations: Path) -> None:
        data = coverage.CoverageData(str(database))
        data.read()
        self._tests: dict[Path, dict[int, list[str]]] = {}
        for file in data.measured_files():
            path = Path(file)
            if path.is_relative_to(ROOT):
                lines = {
                    line: sorted({name.split("|")[0] for name in names if name})
                    for line, names in data.contexts_by_lineno(file).items()
                }
                self._tests[path.relative_to(ROOT)] = lines
        self._time_s: dict[str, float] = {}
        for case in ET.parse(durations).iter("testcase"):  # noqa: S314 - our own file
            module = case.get("classname", "").replace(".", "/")
            self._time_s[f"{module}.py::{case.get('name')}"] = float(case.get("time", 0))

    def tests_of(self, mutant: Mutant) -> list[str]:
        """Return the tests to run for a mutant, fastest first, within the budget.

        A line that only imports execute (a constant, a field) is tried with all tests that execute its file.
        """
        lines = self._tests.get(mutant.path, {})
        touched = {test for line in range(mutant.first_line, mutant.last_line + 1) for test in lines.get(line, ())}
        names = touched or {test for tests in lines.values() for test in tests}
        chosen, total_s = [], 0.0
        for name in sorted(names, key=lambda name: self._time_s.get(name, 1.0)):
            total_s += self._time_s.get(name, 1.0)
            if chosen and total_s > _TEST_BUDGET_S:
                break
            chosen.append(name)
        return chosen


def find_mutants(only: str, rng: random.Random) -> list[Mutant]:
    """Return one mutation for each place of the target files that an operator fits, in a stable order.

    A place that several replacements fit (`<` to `<=` or to `>=`) gets one of them by chance.
    """
    files = sorted({file for pattern in TARGETS for file in (ROOT / PACKAGE).glob(pattern)})
    files = [file.relative_to(ROOT) for file in files if only in str(file)]
    places: dict[tuple[Path, str, tuple[int, int]], list[Mutant]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, use_db(f"{folder}/session.sqlite") as database:
        init(files, database, {})
        for found in (mutation for item in database.work_items for mutation in item.mutations):
            name, path = found.operator_name.removeprefix("core/"), Path(found.module_path)
            family, *change = name.split("_", 1)
            if (change and change[0] not in _CHANGES) or _is_left_out(path, found.start_pos, found.end_pos):
                continue
            if family == "ExceptionReplacer" and _is_dotted(path, found.start_pos, found.end_pos):
                continue
            mutant = Mutant(
                path=path,
                operator=found.operator_name,
                occurrence=found.occurrence,
                first_line=found.start_pos[0],
                last_line=found.end_pos[0],
            )
            places[path, family, found.start_pos].append(mutant)
    return [rng.choice(sorted(places[place], key=lambda mutant: mutant.operator)) for place in sorted(places)]


def _is_left_out(path: Path, start: tuple[int, int], end: tuple[int, int]) -> bool:
    """Whether a span is in an annotation or in the options of a dataclass, or is a star that is not an operator."""
    line, column = _lines(path)[start[0] - 1], start[1]
    # The formatter puts spaces around a product, and none before a power of a name or number.
    unpacks = re.match(r"\*\*?[^\s*]", line[column:]) is not None and line[:column][-1:] in {"", " ", "(", "[", "{"}
    return unpacks or any(first <= start and end <= last for first, last in _declarations(path))


def _is_dotted(path: Path, start: tuple[int, int], end: tuple[int, int]) -> bool:
    """Whether a span has a dot: Cosmic Ray cannot replace an exception with the name of its module before it."""
    return "." in _lines(path)[start[0] - 1][start[1] : end[1]]


@cache
def _lines(path: Path) -> list[str]:
    return (ROOT / path).read_text(encoding="utf-8").splitlines()


@cache
def _declarations(path: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the spans of annotations and of the options of dataclasses."""
    nodes = list(ast.walk(ast.parse("\n".join(_lines(path)))))
    parts = [part for node in nodes for part in (getattr(node, "annotation", 0), getattr(node, "returns", 0))]
    decorators = [decorator for node in nodes if isinstance(node, ast.ClassDef) for decorator in node.decorator_list]
    parts += [option.value for call in decorators if isinstance(call, ast.Call) for option in call.keywords]
    return [
        ((part.lineno, part.col_offset), (part.end_lineno or 0, part.end_col_offset or 0))
        for part in parts
        if isinstance(part, ast.expr)
    ]


def measure(tests: Sequence[str]) -> Coverage:
    """Run the tests once with coverage contexts, and return which tests execute which lines."""
    database, durations = WORK / "coverage", WORK / "durations.xml"
    source = [f"--cov={PACKAGE}"]
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-n", str(_WORKERS), "-p", "no:cacheprovider", *tests),
        *(*source, "--cov-context=test", "--cov-report=", f"--junitxml={durations}"),
    ]
    environment = _environment(ROOT) | {"COVERAGE_FILE": str(database), "COVERAGE_CORE": "ctrace"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"the tests fail without a mutation:\n{run.stdout[-4000:]}")
    return Coverage(database, durations)


def _environment(tree: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}


def _copied(number: int) -> Path:
    """Return a copy of the tree for one worker."""
    tree = WORK / f"tree{number}"
    shutil.rmtree(tree, ignore_errors=True)
    kept = shutil.ignore_patterns(".venv", ".git", ".mutants", "__pycache__", ".*_cache", "_build")
    shutil.copytree(ROOT, tree, ignore=kept)
    return tree


def judge(mutant: Mutant, tests: Sequence[str], tree: Path) -> Verdict:
    """Apply a mutation in a copy of the tree, and run the tests until one fails."""
    file = tree / mutant.path
    source = file.read_text(encoding="utf-8")
    mutated = mutant.mutated(source)
    if mutated is None:
        raise RuntimeError(f"nothing to mutate: {mutant}")
    diff = "".join(
        unified_diff(
            source.splitlines(keepends=True), mutated.splitlines(keepends=True), str(mutant.path), "mutant", n=0
        )
    )
    if not tests:
        return Verdict(mutant=mutant, noticed=False, why="no test executes it", diff=diff)
    file.write_text(mutated, encoding="utf-8")
    try:
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-x",
                "-q",
                "--no-header",
                "-p",
                "no:cacheprovider",
                "-p",
                "no:xdist",
                *tests,
            ],
            cwd=tree,
            env=_environment(tree),
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Verdict(mutant=mutant, noticed=True, why="timed out", diff=diff)
    finally:
        file.write_text(source, encoding="utf-8")
    return Verdict(mutant=mutant, noticed=run.returncode != 0, why=f"{len(tests)} tests", diff=diff)


def _excuses() -> dict[tuple[str, str, str], str]:
    """Return the reasons of excused mutants by file, the line before and the line after."""
    listed = tomllib.loads((ROOT / "tests/mutants.toml").read_text(encoding="utf-8")).get("excused", [])
    return {(entry["file"], entry["before"], entry["after"]): entry["reason"] for entry in listed}


def _key(verdict: Verdict) -> tuple[str, str, str]:
    changed = defaultdict(list)
    for line in verdict.diff.splitlines()[2:]:
        changed[line[:1]].append(line[1:].strip())
    return str(verdict.mutant.path.relative_to(PACKAGE)), " ".join(changed["-"]), " ".join(changed["+"])


def run_all(mutants: Sequence[Mutant], tests: Coverage) -> Iterator[Verdict]:
    """Judge the mutants, several at a time, and yield their verdicts in order."""
    trees: SimpleQueue[Path] = SimpleQueue()
    for number in range(_WORKERS):
        trees.put(_copied(number))

    def judged(mutant: Mutant) -> Verdict:
        tree = trees.get()
        try:
            return judge(mutant, tests.tests_of(mutant), tree)
        finally:
            trees.put(tree)

    with ThreadPoolExecutor(_WORKERS) as pool:
        yield from pool.map(judged, mutants)


def main() -> int:
    """Judge a sample, print every survivor and a summary, and write both to `.mutants/report.txt`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="files whose path contains this")
    parser.add_argument("--tests", nargs="*", default=TESTS, help="tests to run; by default those listed above")
    options = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    began = time.monotonic()
    rng = random.Random(options.seed)  # noqa: S311
    found = find_mutants(options.only, rng)
    sample = rng.sample(found, min(options.sample, len(found)))
    print(f"{len(found):,} mutants, {len(sample)} of them tried; measuring which tests execute which lines", flush=True)
    tests = measure(options.tests)
    excuses, survivors, excused = _excuses(), [], []
    for done, verdict in enumerate(run_all(sample, tests), 1):
        if not verdict.noticed and _key(verdict) in excuses:
            excused.append(verdict)
        elif not verdict.noticed:
            survivors.append(verdict)
            print(f"\nsurvived ({verdict.why}):\n{verdict.diff}", flush=True)
        if done % 20 == 0:
            spent = time.monotonic() - began
            print(
                f"{done} of {len(sample)}: {len(survivors)} survive, {len(excused)} excused, {spent:.0f} s", flush=True
            )
    counted = len(sample) - len(excused)
    share = 1 - len(survivors) / counted if counted else 1.0
    summary = (
        f"{share:.1%} of {counted} mutants noticed, {len(excused)} excused ({len(excused) / len(sample):.1%}), "
        f"{time.monotonic() - began:.0f} s"
    )
    print(f"\n{summary}")
    report = "\n".join([summary, *(f"\n{verdict.why}\n{verdict.diff}" for verdict in survivors)])
    (WORK / "report.txt").write_text(report, encoding="utf-8")
    return 0 if share >= MIN_NOTICED_SHARE and len(excused) <= MAX_EXCUSED_SHARE * len(sample) else 1


if __name__ == "__main__":
    sys.exit(main())
