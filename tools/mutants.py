"""Mutate the code that decides about money and policy, and count the mutants that the tests notice.

    python tools/mutants.py [--sample 600] [--seed 0] [--only bills/] [--workers 2] [--resume]

Cosmic Ray finds the possible mutations; a random sample of them is tried, each in a copy of the tree, against the unit
tests of its file and then the tests that execute the mutated line (measured once with coverage contexts), the fastest
first. Left out are mutations of annotations and of stars that unpack or mark keywords, which mostly fail at import and
would count as noticed without any test, and of the options of a dataclass (`frozen`, `slots`, `kw_only`), which the
type check guards. A survivor that changes nothing a user could observe may be excused in `tests/mutants.toml`, with
its reason. The exit status is 1 if fewer than 90 % are noticed or more than 3 % excused.

Each verdict is kept in `.mutants/verdicts.jsonl` as soon as it is known. `--resume` goes on from there: it tries again
only the mutants of files that changed, and the survivors whose unit tests changed.
"""

import argparse
import json
import multiprocessing
import shutil
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from mutant_places import PACKAGE, ROOT, Mutant, find_mutants, sample
from mutant_tests import WORK, Coverage, judge, measure, own_tests, start_worker

TARGETS: Final = (
    "gateway/state/auth.py",
    "gateway/state/ledger_writer.py",
    "gateway/venues/venues.py",
    "gateway/workers/dispatch.py",
    "gateway/workers/outcomes.py",
    "policy/*.py",
    "bills/**/*.py",
    "study/audit/**/*.py",
    "planner/**/bounds.py",
    "planner/**/commitments.py",
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

MIN_NOTICED_SHARE: Final = 0.90
MAX_EXCUSED_SHARE: Final = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of a mutant: how its tests failed (nothing if they passed), and the lines that it changed."""

    name: str
    path: str
    target: str
    source: str
    """A digest of the source, to know whether the verdict still holds; `tests` is one of its unit tests."""
    tests: str
    outcome: str
    diff: str

    @property
    def noticed(self) -> bool:
        """Whether a test failed."""
        return self.outcome not in {"", "no test executes it"}

    @property
    def change(self) -> tuple[str, str, str]:
        """The file, the lines before and the lines after, as an excuse names them, without spaces."""
        lines = self.diff.splitlines()[2:]
        before, after = (" ".join(line[1:] for line in lines if line[:1] == sign) for sign in "-+")
        return str(Path(self.path).relative_to(PACKAGE)), _unspaced(before), _unspaced(after)


def _digests(mutant: Mutant, tree: Path) -> tuple[str, str]:
    """Return digests of a mutant's source and of its unit tests."""
    files = ([mutant.path], own_tests(mutant.path, tree))
    source, tests = (sha256(b"".join((tree / file).read_bytes() for file in group)).hexdigest()[:16] for group in files)
    return source, tests


def judge_one(mutant: Mutant, tests: Sequence[str]) -> Verdict:
    """Return the verdict on a mutant, in a worker, whose copy of the tree is its current folder."""
    source, unit_tests = _digests(mutant, Path.cwd())
    outcome, diff = judge(mutant, tests)
    return Verdict(
        name=mutant.name,
        path=str(mutant.path),
        target=mutant.target,
        source=source,
        tests=unit_tests,
        outcome=outcome,
        diff=diff,
    )


def _known(verdicts: Path) -> dict[str, Verdict]:
    """Return the latest kept verdict on each mutant."""
    lines = verdicts.read_text(encoding="utf-8").splitlines() if verdicts.exists() else []
    return {verdict.name: verdict for verdict in (Verdict(**json.loads(line)) for line in lines)}


def _holds(verdict: Verdict | None, mutant: Mutant) -> bool:
    """Whether a kept verdict on a mutant is still true: other tests could notice a survivor."""
    if verdict is None:
        return False
    source, tests = _digests(mutant, ROOT)
    return verdict.source == source and (verdict.noticed or verdict.tests == tests)


def judge_all(mutants: Sequence[Mutant], tests: Coverage, *, workers: int) -> Iterator[Verdict]:
    """Judge the mutants, several at a time, yield their verdicts in order, and keep each."""
    for tree in WORK.glob("tree*"):
        shutil.rmtree(tree)
    spawn = multiprocessing.get_context("spawn")
    with (
        (WORK / "verdicts.jsonl").open("a", encoding="utf-8") as file,
        ProcessPoolExecutor(workers, mp_context=spawn, initializer=start_worker, initargs=(TESTS,)) as pool,
    ):
        for verdict in pool.map(judge_one, mutants, map(tests.tests_of, mutants)):
            file.write(json.dumps(asdict(verdict)) + "\n")
            file.flush()
            yield verdict


def _excuses() -> dict[tuple[str, str, str], str]:
    """Return the reasons of excused mutants by file, the line before and the line after."""
    listed = tomllib.loads((ROOT / "tests/mutants.toml").read_text(encoding="utf-8")).get("excused", [])
    return {(entry["file"], _unspaced(entry["before"]), _unspaced(entry["after"])): entry["reason"] for entry in listed}


def _unspaced(code: str) -> str:
    return "".join(code.split())


def _table(verdicts: Sequence[Verdict], excused: Sequence[Verdict], survivors: Sequence[Verdict]) -> list[str]:
    """Return a line a target: its mutants, the noticed, the excused and the surviving ones."""
    counts = [Counter(verdict.target for verdict in group) for group in (verdicts, excused, survivors)]
    rows = [f"{'target':32}{'mutants':>9}{'noticed':>9}{'excused':>9}{'survive':>9}"]
    for target in TARGETS:
        all_of, excused_of, surviving = (count[target] for count in counts)
        rows.append(f"{target:32}{all_of:9}{all_of - excused_of - surviving:9}{excused_of:9}{surviving:9}")
    return rows


def main() -> int:
    """Judge a sample, print every survivor and a summary, and write both to `.mutants/report.txt`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="files whose path contains this")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="keep verdicts and coverage of an earlier run")
    options = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    began = time.monotonic()
    drawn = sample(find_mutants(TARGETS, "", options.seed), options.sample, options.seed)
    drawn = [mutant for mutant in drawn if options.only in str(mutant.path)]
    if not options.resume:
        (WORK / "verdicts.jsonl").unlink(missing_ok=True)
    known = _known(WORK / "verdicts.jsonl")
    open_mutants = [mutant for mutant in drawn if not _holds(known.get(mutant.name), mutant)]
    print(f"{len(drawn)} mutants, {len(open_mutants)} of them to judge", flush=True)
    coverage = measure(TESTS, workers=options.workers, again=not options.resume)
    excuses = _excuses()
    for done, verdict in enumerate(judge_all(open_mutants, coverage, workers=options.workers), 1):
        known[verdict.name] = verdict
        if not verdict.noticed and verdict.change not in excuses:
            print(f"\nsurvived {verdict.outcome}\n{verdict.diff}", flush=True)
        if done % 20 == 0:
            print(f"{done} of {len(open_mutants)}, {time.monotonic() - began:.0f} s", flush=True)
    verdicts = [known[mutant.name] for mutant in drawn]
    excused = [verdict for verdict in verdicts if not verdict.noticed and verdict.change in excuses]
    survivors = [verdict for verdict in verdicts if not verdict.noticed and verdict.change not in excuses]
    counted = len(drawn) - len(excused)
    share = 1 - len(survivors) / counted if counted else 1.0
    summary = [
        (
            f"{share:.1%} of {counted} mutants noticed, {len(excused)} excused ({len(excused) / len(drawn):.1%}), "
            f"{time.monotonic() - began:.0f} s"
        ),
        *_table(verdicts, excused, survivors),
    ]
    print("\n" + "\n".join(summary))
    report = "\n".join([*summary, *(f"\n{verdict.diff}" for verdict in survivors)])
    (WORK / "report.txt").write_text(report, encoding="utf-8")
    return 0 if share >= MIN_NOTICED_SHARE and len(excused) <= MAX_EXCUSED_SHARE * len(drawn) else 1


if __name__ == "__main__":
    sys.exit(main())
