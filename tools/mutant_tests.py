"""Run the tests that could notice a mutant, in a process that has loaded the libraries already."""

import contextlib
import gc
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Final

import coverage
import pytest
from mutant_places import PACKAGE, ROOT, Mutant

WORK: Final = ROOT / ".mutants"
_TEST_BUDGET_S: Final = 20.0  # tests of one mutant, by their own times
_CPU_LIMIT_S: Final = 60
_TIMEOUT_S: Final = 240.0  # tests that wait for something that never comes
_OPTIONS: Final = ("-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov")

_collected: Final[set[str]] = set()
"""The tests of this worker's tree."""


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
        """Return the tests of other files to run for a mutant, fastest first, within the budget.

        A line that only imports execute (a constant, a field) is tried with all tests that execute its file.
        """
        lines = self._tests.get(mutant.path, {})
        touched = {test for line in range(mutant.first_line, mutant.last_line + 1) for test in lines.get(line, ())}
        names = touched or {test for tests in lines.values() for test in tests}
        own = own_tests(mutant.path, ROOT)
        chosen, total_s = [], 0.0
        for name in sorted(names, key=lambda name: self._time_s.get(name, 1.0)):
            if name.partition("::")[0] in own:
                continue
            total_s += self._time_s.get(name, 1.0)
            if chosen and total_s > _TEST_BUDGET_S:
                break
            chosen.append(name)
        return chosen


def own_tests(path: Path, tree: Path) -> list[str]:
    """Return the files of unit tests that mirror a source file."""
    package = path.relative_to(PACKAGE)
    noun = package.parent.name if package.stem == "__init__" else package.stem
    folder = tree / "tests/unit" / package.parent
    files = [folder / f"test_{noun}.py", *sorted(folder.glob(f"test_{noun}_*.py"))]
    return [str(file.relative_to(tree)) for file in files if file.exists()]


def measure(tests: Sequence[str], *, workers: int, again: bool) -> Coverage:
    """Return which tests execute which lines, from an earlier run or from running the tests once."""
    database, durations = WORK / "coverage", WORK / "durations.xml"
    if again or not durations.exists():
        command = [
            *(sys.executable, "-m", "pytest", "-q", "-n", str(workers), "-p", "no:cacheprovider", *tests),
            *(f"--cov={PACKAGE}", "--cov-context=test", "--cov-report=", f"--junitxml={durations}"),
        ]
        environment = os.environ | {"COVERAGE_FILE": str(database), "COVERAGE_CORE": "ctrace"}
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if run.returncode:
            durations.unlink(missing_ok=True)
            sys.exit(f"the tests fail without a mutation:\n{run.stdout[-4000:]}")
    return Coverage(database, durations)


class _Collector:
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        _collected.update(item.nodeid for item in session.items)


def start_worker(tests: Sequence[str]) -> None:
    """Make this process a worker: in its own copy of the tree, with the libraries of the tests loaded."""
    tree = WORK / f"tree{os.getpid()}"
    # Copied with the bytecode, which is found by the time of the source.
    kept = shutil.ignore_patterns(".venv", ".git", ".mutants", ".*_cache", "_build")
    shutil.copytree(ROOT, tree, ignore=kept)
    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree / "src")
    sys.path.insert(0, str(tree / "src"))
    sys.dont_write_bytecode = True
    with _silence():
        pytest.main([*_OPTIONS, "--collect-only", *tests], plugins=[_Collector()])
    for name in list(sys.modules):
        if name.split(".")[0] in {"bench", "meritorder", "tests"}:
            del sys.modules[name]
    gc.collect()
    gc.freeze()  # what is loaded now is not searched for garbage after each run


def judge(mutant: Mutant, tests: Sequence[str]) -> tuple[str, str]:
    """Apply a mutation in this worker's tree, run its tests, and return the outcome and the lines that it changed."""
    file = mutant.path
    source, stamp = file.read_text(encoding="utf-8"), file.stat()
    mutated = mutant.mutated(source)
    if mutated is None:
        raise RuntimeError(f"nothing to mutate: {mutant}")
    lines = (text.splitlines(keepends=True) for text in (source, mutated))
    diff = "".join(unified_diff(*lines, str(file), "mutant", n=0))
    others = [test for test in tests if test in _collected]
    groups = [group for group in (own_tests(file, Path.cwd()), others) if group]
    if not groups:
        return "no test executes it", diff
    file.write_text(mutated, encoding="utf-8")
    # Bytecode is valid for a time in whole seconds and a size: another time makes sure that none of it is used.
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 10**10))
    try:
        outcomes = (_outcome(group) for group in groups)
        return next((outcome for outcome in outcomes if outcome), ""), diff
    finally:
        file.write_text(source, encoding="utf-8")
        os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def _outcome(tests: Sequence[str]) -> str:
    """Run tests in a fork of this process, and return how they failed, nothing if they passed."""
    child = os.fork()
    if child == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_LIMIT_S, _CPU_LIMIT_S + 5))
        with _silence():
            status = int(pytest.main([*_OPTIONS, *tests]))
        os._exit(status)
    waited_s = 0.0
    while waited_s < _TIMEOUT_S:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return _failure(status)
        time.sleep(0.05)
        waited_s += 0.05
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timed out"


def _failure(status: int) -> str:
    if os.WIFSIGNALED(status):
        return "timed out" if os.WTERMSIG(status) in {signal.SIGXCPU, signal.SIGKILL} else "crashed"
    return {pytest.ExitCode.OK: "", pytest.ExitCode.TESTS_FAILED: "failed"}.get(os.WEXITSTATUS(status), "not collected")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Send what this process prints nowhere."""
    null, out, err = os.open(os.devnull, os.O_WRONLY), os.dup(1), os.dup(2)
    os.dup2(null, 1)
    os.dup2(null, 2)
    yield
    os.dup2(out, 1)
    os.dup2(err, 2)
    for descriptor in (null, out, err):
        os.close(descriptor)
