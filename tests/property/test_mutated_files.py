"""Files with random changes are read, or refused in one line; `python -m bench fuzz` tries thousands of them."""

import random

import pytest
from bench.fuzz import GOOD, mutated, verdicts


@pytest.mark.parametrize(("name", "files"), [("trace", 60), ("bill", 10), ("metrics", 6), ("catalog", 10)])
def test_mutated_files_end_well(name: str, files: int) -> None:
    tried = list(verdicts(files, names=(name,), seed=1))
    assert [(content, text) for _, verdict, content, text in tried if verdict not in GOOD] == []
    if name == "trace":
        assert {verdict for _, verdict, _, _ in tried} == set(GOOD), "some are read, and some are not"


def test_mutations_change_files() -> None:
    draw = random.Random(0)
    assert len({mutated(b"a,b\n1,2\n", draw) for _ in range(50)}) > 30
